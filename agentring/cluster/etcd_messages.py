"""What is sent to etcd and what it answers, from and into the types of etcd_types. Used by the client alone."""

from collections.abc import Iterable
from typing import Any

from aetcd import rpc

from agentring.cluster.etcd_types import Compare, Delete, Get, KeyValue, Put, RangeResult, Txn, TxnResult, WatchBatch
from agentring.ids import Revision


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with the prefix (which ends in an ASCII character)."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def key_value_of(kv: Any) -> KeyValue:
    """A key of an answer."""
    return KeyValue(kv.key.decode(), kv.value, Revision(kv.create_revision), Revision(kv.mod_revision), kv.lease)


def range_result_of(response: Any) -> RangeResult:
    """A read's answer."""
    return RangeResult(Revision(response.header.revision), tuple(key_value_of(kv) for kv in response.kvs))


def _compare(compare: Compare) -> Any:
    result = rpc.Compare(key=compare.key.encode(), result=rpc.Compare.EQUAL)
    if compare.prefix:
        result.range_end = prefix_end(compare.key)
    if compare.field == "create":
        result.target = rpc.Compare.CREATE
        result.create_revision = compare.revision
    else:
        result.target = rpc.Compare.MOD
        result.mod_revision = compare.revision
    return result


def txn_request(txn: Txn) -> Any:
    """The transaction as it is sent."""
    return rpc.TxnRequest(
        compare=[_compare(compare) for compare in txn.compares],
        success=[_request_op(op) for op in txn.success],
        failure=[_request_op(op) for op in txn.failure],
    )


def request_of_all(txns: Iterable[Txn]) -> Any:
    """Several transactions as one that writes all or nothing; a compare that they share is sent once."""
    return rpc.TxnRequest(
        compare=[_compare(compare) for compare in dict.fromkeys(each for txn in txns for each in txn.compares)],
        success=[_request_op(op) for txn in txns for op in txn.success],
    )


def txn_result(txn: Txn, response: Any, revision: int) -> TxnResult:
    """The transaction's own answer; revision: of the step that it was part of."""
    ops = txn.success if response.succeeded else txn.failure
    return TxnResult(
        succeeded=response.succeeded,
        revision=Revision(revision),
        gets=tuple(
            key_value_of(answer.response_range.kvs[0]) if answer.response_range.kvs else None
            for op, answer in zip(ops, response.responses, strict=True)
            if isinstance(op, Get)
        ),
    )


def _request_op(op: Put | Delete | Get) -> Any:
    key = op.key.encode()
    if isinstance(op, Put):
        return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=op.value, lease=op.lease_id))
    if isinstance(op, Delete):
        return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key))


def batch_of(response: Any) -> WatchBatch:
    """A watch response, whole."""
    puts, deletes = [], []
    for event in response.events:
        if event.type == rpc.Event.PUT:
            puts.append(key_value_of(event.kv))
        else:
            deletes.append(event.kv.key.decode())
    # Within one response a key can be deleted and put again; only its last word counts.
    last = {event.kv.key.decode(): event.type for event in response.events}
    return WatchBatch(
        # Not the header's: of a watch that catches up, etcd sends every 1,000 revisions under its newest one.
        Revision(response.events[-1].kv.mod_revision),
        puts=tuple({kv.key: kv for kv in puts if last[kv.key] == rpc.Event.PUT}.values()),
        deletes=tuple({key for key in deletes if last[key] != rpc.Event.PUT}),
    )
