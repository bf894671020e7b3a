"""A node as it is read from etcd, and what cannot be changed afterwards."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from agentring.cluster.etcd.types import KeyValue
from agentring.cluster.records import UnreadableRecord, encode
from agentring.cluster.snapshot import Node
from agentring.ids import NodeId, Revision
from agentring.v1 import cluster_pb2
from harness.memberships import node, snapshot


def read(**fields: Any) -> Node:
    record = cluster_pb2.NodeRecord(v=1, node_id="n1", address="10.0.0.1:7000", **fields)
    return Node.from_key_value(KeyValue("/nodes/n1", encode(record), Revision(7), Revision(9), 5))


def test_a_node_is_what_its_record_says_and_its_incarnation_is_the_keys_create_revision() -> None:
    found = read(agents=["b", "a"], weight=3, labels={"zone": "x"}, state=cluster_pb2.NODE_STATE_ACTIVE)
    assert (found.node_id, found.address, found.weight, found.active) == ("n1", "10.0.0.1:7000", 3, True)
    assert found.agents == frozenset({"a", "b"})
    assert dict(found.labels) == {"zone": "x"}
    assert found.incarnation == 7


def test_a_node_without_a_weight_weighs_one() -> None:
    assert read().weight == 1


@pytest.mark.parametrize(
    ("state", "active"), [(cluster_pb2.NODE_STATE_ACTIVE, True), (cluster_pb2.NODE_STATE_DRAINING, False)]
)
def test_a_draining_node_is_not_active(state: cluster_pb2.NodeState.ValueType, active: bool) -> None:
    found = read(state=state)
    assert found.active is active
    assert found.to_info().state == state


def test_what_is_shown_of_it() -> None:
    found = read(agents=["b", "a"], weight=3, labels={"zone": "x"})
    assert found.to_info() == cluster_pb2.NodeInfo(
        node_id="n1",
        address="10.0.0.1:7000",
        agents=["a", "b"],
        weight=3,
        labels={"zone": "x"},
        state=cluster_pb2.NODE_STATE_ACTIVE,
        incarnation=7,
    )


def test_garbage_is_unreadable() -> None:
    with pytest.raises(UnreadableRecord):
        Node.from_key_value(KeyValue("/nodes/n1", b"?", Revision(1), Revision(1), 0))


def test_nothing_of_it_can_be_changed() -> None:
    found: Any = read(labels={"zone": "x"})
    with pytest.raises(FrozenInstanceError):
        found.weight = 5
    with pytest.raises(TypeError):
        found.labels["zone"] = "y"
    whole: Any = snapshot(found)
    with pytest.raises(FrozenInstanceError):
        whole.revision = 5
    with pytest.raises(TypeError):
        whole.nodes[NodeId("n2")] = found


def test_an_agent_is_hosted_where_a_node_on_the_ring_has_it() -> None:
    members = snapshot(node("n1", agents=("echo",)), node("n2", agents=("assistant",), active=False))
    assert members.hosting("echo")
    assert not members.hosting("assistant")
    assert not members.hosting("")
