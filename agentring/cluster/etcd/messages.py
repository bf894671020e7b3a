"""What is sent to etcd and what it answers, from and into those of types.py. Used by the client alone.

Messages are filled in where they belong: one that is handed to another's constructor is copied."""

from collections.abc import Iterable
from typing import Any

from aetcd import rpc

from agentring.cluster.etcd.types import Compare, Delete, Get, KeyValue, Put, RangeResult, Txn, TxnResult, WatchBatch
from agentring.ids import Revision

_EQUAL, _CREATE, _MOD = rpc.Compare.EQUAL, rpc.Compare.CREATE, rpc.Compare.MOD


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with the prefix (which ends in an ASCII character)."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def key_value_of(kv: Any) -> KeyValue:
    """A key of an answer."""
    return KeyValue(_text(kv.key), kv.value, Revision(kv.create_revision), Revision(kv.mod_revision), kv.lease)


def _text(key: bytes) -> str:
    """All our own keys are ASCII; somebody else's, which may be any bytes, must not pass for one of them."""
    return key.decode(errors="backslashreplace")


def range_result_of(response: Any) -> RangeResult:
    """A read's answer."""
    return RangeResult(Revision(response.header.revision), tuple(key_value_of(kv) for kv in response.kvs))


def _fill_compare(message: Any, compare: Compare) -> None:
    message.key = compare.key.encode()
    message.result = _EQUAL
    if compare.prefix:
        message.range_end = prefix_end(compare.key)
    if compare.field == "create":
        message.target = _CREATE
        message.create_revision = compare.revision
    else:
        message.target = _MOD
        message.mod_revision = compare.revision


def txn_request(txn: Txn) -> Any:
    """The transaction as it is sent."""
    request = rpc.TxnRequest()
    _fill_txn(request, txn)
    return request


def nested_request(txns: Iterable[Txn]) -> Any:
    """Several transactions in one, each by its own compares."""
    request = rpc.TxnRequest()
    for txn in txns:
        _fill_txn(request.success.add().request_txn, txn)
    return request


def request_of_all(txns: Iterable[Txn]) -> Any:
    """Several transactions as one that writes all or nothing; a compare that they share is sent once."""
    request = rpc.TxnRequest()
    for compare in dict.fromkeys(each for txn in txns for each in txn.compares):
        _fill_compare(request.compare.add(), compare)
    for txn in txns:
        for op in txn.success:
            _fill_op(request.success.add(), op)
    return request


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


def _fill_txn(message: Any, txn: Txn) -> None:
    for compare in txn.compares:
        _fill_compare(message.compare.add(), compare)
    for op in txn.success:
        _fill_op(message.success.add(), op)
    for op in txn.failure:
        _fill_op(message.failure.add(), op)
    message.SetInParent()  # also where it is empty


def _fill_op(message: Any, op: Put | Delete | Get) -> None:
    key = op.key.encode()
    if isinstance(op, Put):
        put = message.request_put
        put.key, put.value, put.lease = key, op.value, op.lease_id
    elif isinstance(op, Delete):
        message.request_delete_range.key = key
    else:
        message.request_range.key = key


def batch_of(response: Any) -> WatchBatch:
    """A watch response, whole."""
    puts, deletes = [], []
    for event in response.events:
        if event.type == rpc.Event.PUT:
            puts.append(key_value_of(event.kv))
        else:
            deletes.append(_text(event.kv.key))
    # Within one response a key can be deleted and put again; only its last word counts.
    last = {_text(event.kv.key): event.type for event in response.events}
    return WatchBatch(
        # Not the header's: of a watch that catches up, etcd sends every 1,000 revisions under its newest one.
        Revision(response.events[-1].kv.mod_revision),
        puts=tuple({kv.key: kv for kv in puts if last[kv.key] == rpc.Event.PUT}.values()),
        deletes=tuple({key for key in deletes if last[key] != rpc.Event.PUT}),
    )
