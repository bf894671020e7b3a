"""An etcd without a process, behind a network that a test leads: every request waits until the test lets it through,
answers it, loses it or its answer, or brings it a second time.

What it keeps of etcd: one revision for each transaction that writes, create- and mod-revisions, nested transactions,
leases that take their keys with them. Time is the test's clock.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdLeaseNotFound, EtcdUnavailable
from agentring.cluster.etcd.types import Compare, Delete, Get, KeyValue, Put, Txn, TxnResult
from agentring.ids import Revision


@dataclass
class _Lease:
    ttl_s: int
    expires_s: float


@dataclass(eq=False)
class Request:
    """One on its way. `apply` may be called more than once: the network brought it twice."""

    name: str
    work: Callable[[], Any]
    answer: asyncio.Future[Any]
    outcome: tuple[str, Any] | None = None

    def apply(self) -> None:
        """It reaches etcd; the first time's outcome is what the client may hear."""
        try:
            outcome = ("result", self.work())
        except EtcdError as error:
            outcome = ("error", error)
        self.outcome = self.outcome or outcome

    def reply(self) -> None:
        """The client hears what came of it."""
        assert self.outcome is not None
        kind, value = self.outcome
        if not self.answer.done():
            if kind == "error":
                self.answer.set_exception(value)
            else:
                self.answer.set_result(value)

    def lose(self) -> None:
        """The client hears nothing; the request may still arrive."""
        if not self.answer.done():
            self.answer.set_exception(EtcdUnavailable(outcome_unknown=True))


@dataclass
class FakeEtcd:
    """etcd's state, and the requests on their way."""

    clock: Clock
    at_once: bool = False
    """Requests are carried out and answered without the test's doing."""
    revision: int = 1
    kvs: dict[str, KeyValue] = field(default_factory=dict)
    leases: dict[int, _Lease] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def client(self) -> EtcdClient:
        """A client of it."""
        return _Client(self)

    async def ask(self, name: str, work: Callable[[], Any]) -> Any:
        request = Request(name, work, asyncio.get_running_loop().create_future())
        if self.at_once:
            request.apply()
            request.reply()
        else:
            self.requests.append(request)
        return await request.answer

    def grant(self, ttl_s: int) -> int:
        """A new lease."""
        lease_id = len(self.leases) + 1
        self.leases[lease_id] = _Lease(ttl_s, self.clock.now_s() + ttl_s)
        return lease_id

    def renew(self, lease_id: int) -> int:
        """The TTL, or 0."""
        self.expire()
        if (lease := self.leases.get(lease_id)) is None:
            return 0
        lease.expires_s = self.clock.now_s() + lease.ttl_s
        return lease.ttl_s

    def expire(self) -> None:
        """Leases that are over go, with their keys."""
        for lease_id in [each for each, lease in self.leases.items() if lease.expires_s <= self.clock.now_s()]:
            self.revoke(lease_id)

    def revoke(self, lease_id: int) -> None:
        """Ends a lease."""
        self.leases.pop(lease_id, None)
        gone = [key for key, kv in self.kvs.items() if kv.lease_id == lease_id]
        self.revision += bool(gone)
        for key in gone:
            del self.kvs[key]

    def txns(self, txns: Sequence[Txn]) -> list[TxnResult]:
        """Carries them out in one step."""
        self.expire()
        next_revision = Revision(self.revision + 1)
        results = []
        wrote = False
        for txn in txns:
            holds = all(self._holds(compare) for compare in txn.compares)
            gets: list[KeyValue | None] = []
            for op in txn.success if holds else txn.failure:
                match op:
                    case Put():
                        if op.lease_id and op.lease_id not in self.leases:
                            raise EtcdLeaseNotFound
                        before = self.kvs.get(op.key)
                        created = before.create_revision if before is not None else next_revision
                        self.kvs[op.key] = KeyValue(op.key, op.value, created, next_revision, op.lease_id)
                        wrote = True
                    case Delete():
                        wrote = self.kvs.pop(op.key, None) is not None or wrote
                    case Get():
                        gets.append(self.kvs.get(op.key))
            results.append((holds, tuple(gets)))
        self.revision += wrote
        return [TxnResult(holds, Revision(self.revision), gets) for holds, gets in results]

    def txn_of_all(self, txns: Sequence[Txn]) -> list[TxnResult] | None:
        """Carries them out in one step if that writes all of them."""
        self.expire()
        if not all(self._holds(compare) for txn in txns for compare in txn.compares):
            return None
        return self.txns(txns)

    def _holds(self, compare: Compare) -> bool:
        kv = self.kvs.get(compare.key)
        if kv is None:
            return compare.revision == 0
        return compare.revision == (kv.create_revision if compare.field == "create" else kv.mod_revision)


class _Client(EtcdClient):
    def __init__(self, fake: FakeEtcd) -> None:
        # Without what the client itself begins with: a channel wants an event loop, which the model has not always.
        self._fake = fake

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Put | Delete | Get],
        failure: Sequence[Get] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        txn = Txn(tuple(compares), tuple(success), tuple(failure))
        (result,) = await self._fake.ask("txn", lambda: self._fake.txns([txn]))
        return result  # type: ignore[no-any-return]

    async def txns(self, txns: Sequence[Txn], *, timeout_s: float | None = None) -> list[TxnResult]:
        name = "txn" if len(txns) == 1 else "txns"
        return await self._fake.ask(name, lambda: self._fake.txns(txns))  # type: ignore[no-any-return]

    async def txn_of_all(self, txns: Sequence[Txn], *, timeout_s: float | None = None) -> list[TxnResult] | None:
        return await self._fake.ask("txn_of_all", lambda: self._fake.txn_of_all(txns))  # type: ignore[no-any-return]

    async def get(self, key: str) -> KeyValue | None:
        return await self._fake.ask("get", lambda: self._fake.kvs.get(key))  # type: ignore[no-any-return]

    async def keep_alive(self, lease_id: int, *, timeout_s: float, patience_s: float | None = None) -> int:
        return await self._fake.ask("keep_alive", lambda: self._fake.renew(lease_id))  # type: ignore[no-any-return]
