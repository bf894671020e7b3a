"""The values in etcd: JSON of the messages of cluster.proto, so that `etcdctl get` shows them to a person.

Readers ignore fields they do not know and writers say which version `v` they write, so versions N-1 and N can share a
cluster.
"""

from typing import TypeVar

from google.protobuf import json_format

from agentring.v1 import cluster_pb2, halt_pb2

RECORD_VERSION = 1
PROTOCOL_VERSION = 1
"""Of what routers and nodes say to each other."""
MAX_RECORD_BYTES = 256 << 10
"""No record of ours comes near it; more is not worth reading."""
MAX_NODE_ID_CHARS = 512


Record = TypeVar(
    "Record",
    cluster_pb2.NodeRecord,
    cluster_pb2.ClaimRecord,
    cluster_pb2.ClusterMeta,
    cluster_pb2.StoreRecord,
    halt_pb2.HaltRecord,
)


class UnreadableRecord(Exception):
    """A value in etcd is not the JSON it should be, or has no version: somebody else writes under our prefix."""


def encode(record: Record) -> bytes:
    """The record as a value for etcd."""
    text = json_format.MessageToJson(record, preserving_proto_field_name=True, indent=None)
    return text.encode()


def decode_node(value: bytes) -> cluster_pb2.NodeRecord:
    """Raises UnreadableRecord."""
    return _decode(value, cluster_pb2.NodeRecord())


def decode_claim(value: bytes) -> cluster_pb2.ClaimRecord:
    """One that names a node and an incarnation. Raises UnreadableRecord."""
    record = _decode(value, cluster_pb2.ClaimRecord())
    # An incarnation is a revision, so 1 or more: 0 would be compared with a key that is not there, and hold.
    if not 0 < len(record.node_id) <= MAX_NODE_ID_CHARS or record.incarnation <= 0:
        raise UnreadableRecord("ClaimRecord")
    return record


def decode_meta(value: bytes) -> cluster_pb2.ClusterMeta:
    """Raises UnreadableRecord."""
    return _decode(value, cluster_pb2.ClusterMeta())


def decode_store(value: bytes) -> cluster_pb2.StoreRecord:
    """Raises UnreadableRecord."""
    return _decode(value, cluster_pb2.StoreRecord())


def decode_halt(value: bytes) -> halt_pb2.HaltRecord:
    """Raises UnreadableRecord."""
    return _decode(value, halt_pb2.HaltRecord())


def _decode(value: bytes, into: Record) -> Record:
    name = type(into).__name__
    if len(value) > MAX_RECORD_BYTES:
        raise UnreadableRecord(name)
    try:
        record = json_format.Parse(value, into, ignore_unknown_fields=True)
    except Exception as error:  # whatever a parser makes of bytes that are anybody's
        raise UnreadableRecord(name) from error
    if record.v == 0:  # so are `{}`, `[]` and other JSON that happens to parse
        raise UnreadableRecord(name)
    return record
