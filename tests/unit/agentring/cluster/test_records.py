"""The values in etcd: read back as written, readable by older versions, and never taken on trust."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.cluster.records import (
    RECORD_VERSION,
    UnreadableRecord,
    decode_claim,
    decode_meta,
    decode_node,
    encode,
)
from agentring.v1 import cluster_pb2

NODE = cluster_pb2.NodeRecord(
    v=RECORD_VERSION,
    node_id="n1",
    address="10.0.0.1:7000",
    agents=["assistant", "echo"],
    weight=2,
    labels={"zone": "a"},
    state=cluster_pb2.NODE_STATE_DRAINING,
    lease_id=2**62 + 1,
    boot_id="b",
    data_uuid="d",
    protocol_min=1,
    protocol_max=2,
)
CLAIM = cluster_pb2.ClaimRecord(v=RECORD_VERSION, node_id="n1", address="10.0.0.1:7000", incarnation=2**53 + 1)
META = cluster_pb2.ClusterMeta(v=RECORD_VERSION, generation=3, cluster_uuid="u")
DECODERS = (decode_node, decode_claim, decode_meta)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def test_records_are_read_back_as_written() -> None:
    assert decode_node(encode(NODE)) == NODE
    assert decode_claim(encode(CLAIM)) == CLAIM
    assert decode_meta(encode(META)) == META


def test_they_are_json_on_one_line_with_the_fields_named_as_in_the_proto() -> None:
    value = encode(NODE)
    assert b"\n" not in value
    fields = json.loads(value)
    assert fields["node_id"] == "n1"
    assert fields["state"] == "NODE_STATE_DRAINING"
    assert fields["v"] == 1


@given(
    node_id=texts,
    address=texts,
    agents=st.lists(texts, max_size=3),
    weight=st.integers(0, 2**32 - 1),
    labels=st.dictionaries(texts, texts, max_size=3),
    lease_id=st.integers(-(2**63), 2**63 - 1),
)
def test_any_node_is_read_back(
    node_id: str, address: str, agents: list[str], weight: int, labels: dict[str, str], lease_id: int
) -> None:
    record = cluster_pb2.NodeRecord(
        v=1, node_id=node_id, address=address, agents=agents, weight=weight, labels=labels, lease_id=lease_id
    )
    assert decode_node(encode(record)) == record


def test_a_later_versions_fields_are_ignored() -> None:
    later = json.loads(encode(CLAIM)) | {"v": 2, "shard": {"of": [1, 2]}, "state_of_mind": "calm"}
    record = decode_claim(json.dumps(later).encode())
    assert (record.node_id, record.address, record.incarnation) == (CLAIM.node_id, CLAIM.address, CLAIM.incarnation)
    assert record.v == 2


def test_a_later_versions_state_is_no_state_that_we_know() -> None:
    later = json.loads(encode(NODE)) | {"state": "NODE_STATE_DREAMING"}
    assert decode_node(json.dumps(later).encode()).state == cluster_pb2.NODE_STATE_UNSPECIFIED


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"null",
        b"5",
        b'"v"',
        b"[]",
        b"{}",
        b'{"v": 0}',
        b'{"v": "one"}',
        b'{"v": -1}',
        b'{"v": 1, "v": 1}',
        b'{"node_id": "n1", "address": "a:1"}',
        b"[" * 100_000,
        b'{"v": 1, "x": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_unreadable(decode: Callable[[bytes], object], value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"v": 1, "node_id": 5}',
        b'{"v": 1, "agents": "echo"}',
        b'{"v": 1, "agents": [null]}',
        b'{"v": 1, "weight": 1.5}',
        b'{"v": 1, "labels": []}',
        b'{"v": 1, "lease_id": 1e300}',
        b'{"v": 1, "node_id": "\\ud800"}',
    ],
)
def test_a_field_of_another_type_is_unreadable(value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode_node(value)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_stands_there_is_a_record_or_unreadable(value: bytes) -> None:
    for decode in DECODERS:
        with suppress(UnreadableRecord):
            assert decode(value).v > 0
