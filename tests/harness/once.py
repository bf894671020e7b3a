"""Nodes that run steps once, over one fake etcd and one store; they wait for each other without a network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from agent_node.once.keys import OnceKeys
from agent_node.once.limits import OnceLimits
from agent_node.once.steps import Once
from agent_node.store.clock import VolatileClock
from agent_node.store.memory.once import MemoryOnceStore
from agent_node.store.once_records import Change, Ending, OnceCaller, OnceOwnership, StoredRun
from agentring.cluster.claim import Claims
from agentring.cluster.etcd.types import Put, Txn
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason, Lease
from agentring.cluster.registration import Registration
from agentring.errors import AgentringError
from agentring.ids import Incarnation, NodeId, OnceRef, parse_once, parse_session
from agentring.rpc.channel import NodeAt
from harness.clock import FakeClock
from harness.fake_etcd import FakeEtcd
from harness.registrations import identity
from harness.sessions import ListedAudit

TTL_S = 10
KEYS = Keys("once")
KEY = parse_once("", "key")


class SharedOnceStore(MemoryOnceStore):
    """A store that outlives the nodes, and breaks as the test says."""

    def __init__(self, *, durable: bool, clock: FakeClock) -> None:
        super().__init__(VolatileClock(clock))
        self.durable = durable
        self.changes_fail: list[Exception] = []
        """What the next changes raise once they have landed."""
        self.ends_fail: list[Exception] = []
        self.landed_ends = 0
        self.on_change: Callable[[], None] = lambda: None

    async def change(self, ownership: OnceOwnership, change: Change) -> StoredRun:
        await asyncio.sleep(0)
        row = await super().change(ownership, change)
        self.on_change()
        if self.changes_fail:
            raise self.changes_fail.pop(0)
        return row

    async def end(self, ownership: OnceOwnership, ending: Ending, keep_s: float | None) -> None:
        await asyncio.sleep(0)
        await super().end(ownership, ending, keep_s)
        self.landed_ends += 1
        if self.ends_fail:
            raise self.ends_fail.pop(0)


class Step:
    """A function that the test leads."""

    def __init__(self, result: Any = "done") -> None:
        self.result = result
        self.error: Exception | None = None
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.calls: list[tuple[str, int]] = []
        """The idempotency key and the fencing token of each call."""

    async def __call__(self, *, idempotency_key: str, fencing_token: int) -> Any:
        self.calls.append((idempotency_key, fencing_token))
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.result


class OnceNode:
    """One incarnation of a node."""

    def __init__(self, cluster: "OnceCluster", name: str, store: SharedOnceStore, tasks: asyncio.TaskGroup) -> None:
        self._cluster = cluster
        self.store = store
        client = cluster.etcd.client()
        lease_id = cluster.etcd.grant(TTL_S)
        self.lease = Lease(client, cluster.clock, lease_id, TTL_S, cluster.clock.now_s())
        (put,) = cluster.etcd.txns([Txn((), (Put(KEYS.node(NodeId(name)), b"", lease_id),))])
        registration = Registration(client, KEYS, identity(name), self.lease, Incarnation(put.revision), 1)
        self.audit = ListedAudit()
        self.claims = Claims(client, KEYS, registration, tasks, timeout_s=1e6)
        self.keys = OnceKeys(
            self.lease,
            self.audit,
            self.claims,
            store,
            cluster.clock,
            f"{name}/{put.revision}",
            cluster.limits,
            tasks,
        )
        self.once = Once(self.keys, self.lease, cluster)
        self.published_unknown: list[str] = []

    async def call(
        self,
        key: str,
        function: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float = 10.0,
        idempotent: bool = True,
        turn_id: str = "t",
    ) -> Any:
        """As an agent of a turn."""
        return await self.once.call(
            OnceCaller(parse_session("", "s"), turn_id),
            key,
            function,
            timeout_s=timeout_s,
            idempotent=idempotent,
            publish_unknown=lambda: self.published_unknown.append(key),
        )

    def begin(self, key: str, function: Callable[..., Awaitable[Any]], **how: Any) -> "asyncio.Task[Any]":
        """A call in a task of its own."""
        return asyncio.create_task(self.call(key, function, **how))

    def lose(self) -> None:
        """The node ends, for the others and for itself: its lease, its claims, the waits for it."""
        self.lease.fence(FenceReason.LEASE_GONE)
        self._cluster.etcd.revoke(self.lease.lease_id)
        self.keys.drop_all()

    @property
    def events(self) -> list[str]:
        """What the audit log has, without claims and releases."""
        return [event for event, _ in self.audit.lines if event.startswith("once_")]


class OnceCluster:
    """Nodes n1 and n2. As RunWatcher: the way from one to the other."""

    def __init__(self, tasks: asyncio.TaskGroup, *, durable: bool, failure_s: float, max_keys: int) -> None:
        self.clock = FakeClock()
        self.store_clock = FakeClock()
        self.etcd = FakeEtcd(self.clock, at_once=True)
        self.limits = OnceLimits(max_keys, 1_000, 3_600.0, failure_s)
        self.watches: list[tuple[str, list[str]]] = []
        """The key of each wait for another node, and the keys that travelled along."""
        store = SharedOnceStore(durable=True, clock=self.store_clock)
        self.n1, self.n2 = (
            OnceNode(self, name, store if durable else SharedOnceStore(durable=False, clock=self.store_clock), tasks)
            for name in ("n1", "n2")
        )
        self.store = store

    async def watch(self, ref: OnceRef, at: NodeAt, held: Collection[OnceRef]) -> Ending | None:
        self.watches.append((ref.task_key, sorted(each.task_key for each in held)))
        await asyncio.sleep(0)
        assert at.address == f"{at.node_id}:1"
        node = {"n1": self.n1, "n2": self.n2}[at.node_id]
        try:
            run = node.keys.watch(ref, held)
        except AgentringError as error:
            if error.reason == "TASK_CYCLE":
                raise
            return None
        return await asyncio.shield(run.ended)

    async def stored(self, key: str) -> StoredRun:
        """The row."""
        row = await self.store.read(parse_once("", key))
        assert row is not None
        return row

    def is_held(self, key: str) -> bool:
        """Whether anybody has a claim of the key."""
        return KEYS.claim(parse_once("", key)) in self.etcd.kvs


@asynccontextmanager
async def once_cluster(
    *, durable: bool = True, failure_s: float = 1_000.0, max_keys: int = 1_000
) -> AsyncIterator[OnceCluster]:
    """Two nodes, which end with the block."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        cluster = OnceCluster(tasks, durable=durable, failure_s=failure_s, max_keys=max_keys)
        yield cluster
        for node in (cluster.n1, cluster.n2):
            await node.keys.drain()
            node.keys.drop_all()


async def settled() -> None:
    """Whatever can go on without the test's doing has."""
    for _ in range(50):
        await asyncio.sleep(0)
