"""The etcd v3 client: the few calls that agentring makes, each with a deadline and typed errors.

Guarantees: no call waits longer than its deadline; an error says whether the call may have taken effect
(`outcome_unknown`). Does not guarantee: anything about what was written before, which is the compares' business, and it
never retries a write by itself. Reads go on to the next endpoint when one does not answer; after any failure the next
call begins with another endpoint. Revisions never go back: a linearizable answer under a lower revision than one that
was known when its request was sent means that etcd's data were lost or replaced; from then on every read and
transaction raises EtcdHistoryBroken, until `begin_anew` (agentring/cluster/history.py).

With channel.py, endpoint.py, messages.py and watch.py the only user of the generated stubs (of the package aetcd,
whose own client has no TLS, a single endpoint and no deadlines). Called by lease, registration, claim and membership.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Self

from aetcd import rpc

from agentring.cluster.etcd.channel import EtcdTls, keep_alive_once
from agentring.cluster.etcd.endpoint import Endpoint
from agentring.cluster.etcd.errors import (
    EtcdCompacted,
    EtcdError,
    EtcdHistoryBroken,
    EtcdLeaseNotFound,
    EtcdTokenRefused,
    EtcdUnavailable,
)
from agentring.cluster.etcd.login import EtcdLogin
from agentring.cluster.etcd.messages import (
    batch_of,
    key_value_of,
    nested_request,
    prefix_end,
    range_result_of,
    request_of_all,
    txn_request,
    txn_result,
)
from agentring.cluster.etcd.types import Compare, Delete, Get, KeyValue, Put, RangeResult, Txn, TxnResult, WatchBatch
from agentring.ids import Revision

WATCH_SILENCE_S = 2.0


class EtcdClient:
    """One client of one etcd cluster.

    Resource handling: `async with`, or `close()`; connections are opened by the first call.
    Cancellation: a cancelled write may still take effect.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: EtcdTls | None = None,
        login: EtcdLogin | None = None,
        timeout_s: float = 2.0,
        watch_silence_s: float = WATCH_SILENCE_S,
    ) -> None:
        """endpoints: `host:port`, `http://host:port` or, with tls, `https://host:port`; login: who calls; None: whom
        the certificate names, or nobody; timeout_s: of every call that is given none of its own; watch_silence_s: how
        long a watch may be silent, half of it until it is asked."""
        if not endpoints:
            raise ValueError("etcd needs at least one endpoint")
        self._endpoints = [Endpoint(each, tls, login, timeout_s) for each in endpoints]
        self._current = 0
        self._watch_silence_s = watch_silence_s
        self._newest_revision = Revision(0)
        self._life = 0
        """Counts how often etcd's data have begun anew."""
        self._history_broken = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; calls under way fail."""
        for endpoint in self._endpoints:
            await endpoint.close()

    async def range(self, prefix: str) -> RangeResult:
        """All keys under a prefix, at one revision, linearizable. Raises EtcdError."""
        request = rpc.RangeRequest(key=prefix.encode(), range_end=prefix_end(prefix))
        sent = self._newest_revision, self._life
        response = await self._read(request)
        self._check_order(sent, response)
        return range_result_of(response)

    async def count(self, prefix: str) -> int:
        """How many keys there are under a prefix; none of them travels. Raises EtcdError."""
        request = rpc.RangeRequest(key=prefix.encode(), range_end=prefix_end(prefix), count_only=True)
        return int((await self._read(request)).count)

    async def get(self, key: str) -> KeyValue | None:
        """One key, linearizable. Raises EtcdError."""
        sent = self._newest_revision, self._life
        response = await self._read(rpc.RangeRequest(key=key.encode()))
        self._check_order(sent, response)
        return key_value_of(response.kvs[0]) if response.kvs else None

    async def look(self, key: str) -> RangeResult:
        """One key, linearizable, whatever the revision: for whoever judges whether the history holds. Raises
        EtcdError."""
        return range_result_of(await self._read(rpc.RangeRequest(key=key.encode())))

    @property
    def newest_revision(self) -> Revision:
        """The highest revision that any answer was under."""
        return self._newest_revision

    @property
    def life(self) -> int:
        """Changes whenever `begin_anew` was called."""
        return self._life

    @property
    def history_broken(self) -> bool:
        """Whether reads and transactions raise EtcdHistoryBroken."""
        return self._history_broken

    def distrust(self) -> None:
        """From now on reads and transactions raise EtcdHistoryBroken."""
        self._history_broken = True

    def begin_anew(self, revision: Revision) -> None:
        """Trusts etcd again, whose data begin a new life at this revision."""
        self._newest_revision, self._history_broken = revision, False
        self._life += 1

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Put | Delete | Get],
        failure: Sequence[Get] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """IF all compares hold THEN success ELSE failure, in one step. Raises EtcdError."""
        txn = Txn(tuple(compares), tuple(success), tuple(failure))
        response = await self._commit(txn_request(txn), timeout_s)
        return txn_result(txn, response, response.header.revision)

    async def txns(self, txns: Sequence[Txn], *, timeout_s: float | None = None) -> list[TxnResult]:
        """Several transactions in one step, each by its own compares, none on a key that another one writes; at most
        about 120 operations. All that they write has one revision. Raises EtcdError, for all of them."""
        if len(txns) == 1:
            (txn,) = txns
            return [await self.txn(txn.compares, txn.success, txn.failure, timeout_s=timeout_s)]
        response = await self._commit(nested_request(txns), timeout_s)
        return [
            txn_result(txn, answer.response_txn, response.header.revision)
            for txn, answer in zip(txns, response.responses, strict=True)
        ]

    async def txn_of_all(self, txns: Sequence[Txn], *, timeout_s: float | None = None) -> list[TxnResult] | None:
        """Several transactions, none of which reads where it succeeds, as one: IF the compares of all of them hold THEN
        all that they write, under one revision; None: not all hold, and nothing was written. A fraction of what `txns`
        costs here and in etcd; the same bounds hold. Raises EtcdError, for all of them."""
        response = await self._commit(request_of_all(txns), timeout_s)
        if not response.succeeded:
            return None
        return [TxnResult(succeeded=True, revision=Revision(response.header.revision), gets=())] * len(txns)

    async def delete(self, key: str) -> bool:
        """Deletes a key, whoever wrote it, also while etcd has no space, when some releases refuse every transaction;
        whether it was there. Raises EtcdError."""
        sent = self._newest_revision, self._life
        request = rpc.DeleteRangeRequest(key=key.encode())
        response = await self._unary(lambda channel: rpc.KVStub(channel).DeleteRange, request, None)
        self._check_order(sent, response)
        return bool(response.deleted)

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        """A new lease: its id and the TTL that etcd granted, in seconds. Raises EtcdError."""
        request = rpc.LeaseGrantRequest(TTL=ttl_s)
        response = await self._unary(lambda channel: rpc.LeaseStub(channel).LeaseGrant, request, None)
        return response.ID, response.TTL

    async def keep_alive(self, lease_id: int, *, timeout_s: float, patience_s: float | None = None) -> int:
        """Renews a lease once and returns the TTL from now on in seconds; 0: the lease is gone. Raises EtcdError.

        Each renewal has a stream of its own: answers carry no id, so on a shared stream a late one would count for the
        next renewal. patience_s: after so long other calls go to the next endpoint, while this one's answer still
        counts; None: once it has failed.
        """
        index, loop = self._current, asyncio.get_running_loop()
        impatient = loop.call_later(timeout_s if patience_s is None else patience_s, self._move_on, index)
        try:
            response = await self._unary(keep_alive_once, rpc.LeaseKeepAliveRequest(ID=lease_id), timeout_s)
        finally:
            impatient.cancel()
        if response is None:
            self._move_on(index)
            raise EtcdError(outcome_unknown=True)
        return int(response.TTL)

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> None:
        """Ends a lease and deletes its keys; a lease that is gone already is no error. Raises EtcdError."""
        request = rpc.LeaseRevokeRequest(ID=lease_id)
        with suppress(EtcdLeaseNotFound):
            await self._unary(lambda channel: rpc.LeaseStub(channel).LeaseRevoke, request, timeout_s)

    async def call(self, method: Any, request: Any) -> Any:
        """One of etcd's own calls. method: of a channel, the stub's. Raises EtcdError."""
        return await self._unary(method, request, None)

    async def call_each(self, method: Any, request: Any) -> list[Any]:
        """As `call`, at each endpoint; an EtcdError in the place of an answer that did not come."""
        calls = (endpoint.call(method, request) for endpoint in self._endpoints)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, EtcdError):
                raise answer
        return answers

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        """Changes under a prefix from a revision on, each response as one batch, until cancelled or broken.

        Raises EtcdCompacted where from_revision is compacted, EtcdSilent where not even a progress notification comes,
        EtcdHistoryBroken soon after any call was found to go back in time, EtcdError where the stream breaks, and soon
        after etcd's data were found to have begun anew.
        """
        index, life = self._current, self._life
        watching = self._endpoints[index].watch(prefix, from_revision, self._watch_silence_s)
        try:
            async with aclosing(watching) as responses:
                async for response in responses:
                    if self._history_broken:  # somebody else's read or transaction found out
                        raise EtcdHistoryBroken
                    if life != self._life:
                        raise EtcdUnavailable(outcome_unknown=False)
                    if response.events:
                        batch = batch_of(response)
                        self._newest_revision = max(self._newest_revision, batch.revision)
                        yield batch
        except (EtcdCompacted, EtcdHistoryBroken, EtcdTokenRefused):
            raise
        except EtcdError:
            self._move_on(index)
            raise

    def _check_order(self, sent: tuple[Revision, int], response: Any) -> None:
        """sent: what was known when the request went out, and in which of etcd's lives."""
        revision = Revision(response.header.revision)
        known, life = sent
        if life != self._life:
            raise EtcdUnavailable(outcome_unknown=True)  # which life has answered is not known
        if revision < known:
            self._history_broken = True
        if self._history_broken:
            raise EtcdHistoryBroken
        self._newest_revision = max(self._newest_revision, revision)

    async def _commit(self, request: Any, timeout_s: float | None) -> Any:
        sent = self._newest_revision, self._life
        response = await self._unary(lambda channel: rpc.KVStub(channel).Txn, request, timeout_s)
        self._check_order(sent, response)
        return response

    async def _read(self, request: Any) -> Any:
        for last in [False] * (len(self._endpoints) - 1) + [True]:
            try:
                return await self._unary(lambda channel: rpc.KVStub(channel).Range, request, None)
            except EtcdError:
                if last:
                    raise
        raise AssertionError  # there is at least one endpoint

    async def _unary(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        index = self._current
        try:
            return await self._endpoints[index].call(method, request, timeout_s)
        except EtcdError:
            self._move_on(index)
            raise

    def _move_on(self, failed: int) -> None:
        # Only the first of several calls that failed together moves on; the others would skip endpoints.
        if self._current == failed:
            self._current = (failed + 1) % len(self._endpoints)
