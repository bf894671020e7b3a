"""Nodes that claim, release, sweep and are fenced, over an etcd whose network and clock do their worst.

The nodes use the product's own Claims, GroupCommit and Lease. `OwnershipModel` is a hypothesis state machine: each step
is one thing that may happen next, and after each the promises are checked:

1. An actor whose lease still passes its check is the key's only one, and etcd's record is its own.
2. A key's epochs grow, and no two activations have the same.
3. Nobody but the incarnation that wrote a record deletes it while its lease stands.

The classes of Claims and Lease can be replaced, by ones that lack a protection.
"""

import asyncio
import contextlib
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentring.cluster.claim import Claim, Claims
from agentring.cluster.etcd.types import Put, Txn
from agentring.cluster.keys import Keys
from agentring.cluster.lease import Lease
from agentring.cluster.registration import Registration
from agentring.errors import AgentringError, NodeFenced
from agentring.ids import Incarnation, NodeId, SessionRef, TaskRef, parse_session
from harness.clock import FakeClock
from harness.fake_etcd import FakeEtcd, Request
from harness.registrations import identity

TTL_S = 10
KEYS = Keys("model")
REFS = [parse_session("", f"s{index}") for index in range(5)]
MAX_GROUP = 2
"""Few, so that groups are full and two are under way at once."""
NAMES = ["n1", "n2"]


class Node:
    """One incarnation and its actors."""

    def __init__(self, etcd: FakeEtcd, clock: FakeClock, name: str, tasks: asyncio.TaskGroup, model: type) -> None:
        client = etcd.client()
        self.etcd = etcd
        lease_id = etcd.grant(TTL_S)
        self.lease = model.LEASE(client, clock, lease_id, TTL_S, clock.now_s())  # type: ignore[attr-defined]
        (put,) = etcd.txns([Txn((), (Put(KEYS.node(NodeId(name)), b"", lease_id),))])
        registration = Registration(client, KEYS, identity(name), self.lease, Incarnation(put.revision), 1)
        self.claims: Claims = model.CLAIMS(  # type: ignore[attr-defined]
            client, KEYS, registration, tasks, timeout_s=1e6, max_group=MAX_GROUP
        )
        self.actors: dict[SessionRef | TaskRef, Claim] = {}
        self.activating: dict[SessionRef | TaskRef, asyncio.Task[None]] = {}
        self.epochs: list[tuple[SessionRef | TaskRef, int]] = []
        self.keeping = tasks.create_task(self.lease.keep())
        self.busy: list[asyncio.Task[Any]] = []

    @property
    def stands(self) -> bool:
        """Whether its lease passes the check."""
        try:
            self.lease.check()
        except NodeFenced:
            return False
        return True

    def uses(self, ref: SessionRef | TaskRef) -> bool:
        return ref in self.actors or ref in self.activating

    async def activate(self, ref: SessionRef) -> None:
        """As the host: claims, then has an actor."""
        try:
            claim = await self.claims.claim(ref)
            self.lease.check()
            self.epochs.append((ref, claim.epoch))
            self.actors[ref] = claim
        except AgentringError:
            pass
        finally:
            del self.activating[ref]

    async def release(self, claim: Claim) -> None:
        with contextlib.suppress(AgentringError):
            await self.claims.release(claim)

    async def sweep(self) -> None:
        with contextlib.suppress(AgentringError):
            await self.claims.sweep(self.uses)

    async def refuse(self, ref: SessionRef) -> None:
        with contextlib.suppress(AgentringError):
            await self.claims.disclaim(ref, self.uses)


class OwnershipModel(RuleBasedStateMachine):
    """What may happen, in any order."""

    CLAIMS: ClassVar[type[Claims]] = Claims
    LEASE: ClassVar[type[Lease]] = Lease

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.etcd = FakeEtcd(self.clock)
        self.nodes: dict[str, Node] = {}
        self.epochs: dict[SessionRef | TaskRef, int] = {}
        self.tasks: asyncio.TaskGroup
        self._over = asyncio.Event()
        self._holding = self.loop.create_task(self._hold())
        self.settle()

    async def _hold(self) -> None:
        async with asyncio.TaskGroup() as self.tasks:
            for name in NAMES:
                self.nodes[name] = Node(self.etcd, self.clock, name, self.tasks, type(self))
            await self._over.wait()

    def settle(self) -> None:
        async def breathe() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(breathe())

    def teardown(self) -> None:
        self._over.set()
        for task in asyncio.all_tasks(self.loop) - {self._holding}:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait([self._holding], timeout=10))
        assert self._holding.done()
        self.loop.close()

    # What nodes do.

    @rule(name=st.sampled_from(NAMES), ref=st.sampled_from(REFS))
    def claim(self, name: str, ref: SessionRef) -> None:
        node = self.nodes[name]
        if node.stands and not node.uses(ref):
            node.activating[ref] = self.loop.create_task(node.activate(ref))
            self.settle()

    @rule(name=st.sampled_from(NAMES), ref=st.sampled_from(REFS))
    def release(self, name: str, ref: SessionRef) -> None:
        node = self.nodes[name]
        if ref in node.actors:
            node.busy.append(self.loop.create_task(node.release(node.actors.pop(ref))))
            self.settle()

    @rule(name=st.sampled_from(NAMES))
    def claim_all(self, name: str) -> None:
        """Many at the same time, which travel in groups."""
        for ref in REFS:
            self.claim(name, ref)

    @rule(name=st.sampled_from(NAMES))
    def release_all(self, name: str) -> None:
        for ref in REFS:
            self.release(name, ref)

    @rule(name=st.sampled_from(NAMES))
    def sweep(self, name: str) -> None:
        node = self.nodes[name]
        if all(task.done() for task in node.busy):
            node.busy.append(self.loop.create_task(node.sweep()))
            self.settle()

    @rule(name=st.sampled_from(NAMES), ref=st.sampled_from(REFS))
    def refuse(self, name: str, ref: SessionRef) -> None:
        """A caller whom the node turns away, while another one may have the key activated."""
        node = self.nodes[name]
        if node.stands and not node.uses(ref):
            node.busy.append(self.loop.create_task(node.refuse(ref)))
            self.settle()

    @rule(name=st.sampled_from(NAMES), ref=st.sampled_from(REFS))
    def cancel(self, name: str, ref: SessionRef) -> None:
        if (task := self.nodes[name].activating.get(ref)) is not None:
            task.cancel()
            self.settle()

    @rule(name=st.sampled_from(NAMES))
    def rejoin(self, name: str) -> None:
        """A fenced node drops all, and comes back once etcd has forgotten its key."""
        if not self.nodes[name].stands:
            self.nodes[name].actors.clear()
            self.etcd.expire()
            if KEYS.node(NodeId(name)) not in self.etcd.kvs:
                self.nodes[name] = Node(self.etcd, self.clock, name, self.tasks, type(self))
                self.settle()

    # What the network does.

    @precondition(lambda self: self.etcd.requests)
    @rule(data=st.data(), fate=st.sampled_from(["answer", "answer", "answer", "apply", "lose", "drop", "twice"]))
    def network(self, data: st.DataObject, fate: str) -> None:
        request: Request = data.draw(st.sampled_from(self.etcd.requests))
        if fate in ("answer", "apply", "twice"):
            request.apply()
        if fate == "answer":
            request.reply()
        if fate in ("lose", "drop"):
            request.lose()
        if fate in ("answer", "drop"):
            self.etcd.requests.remove(request)
        self.settle()

    @precondition(lambda self: any(request.outcome for request in self.etcd.requests))
    @rule(data=st.data())
    def late_answer(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([each for each in self.etcd.requests if each.outcome]))
        request.reply()
        self.etcd.requests.remove(request)
        self.settle()

    @rule(duration_s=st.sampled_from([0.5, 2.5, 4.0, 8.5, 11.0]))
    def time(self, duration_s: float) -> None:
        self.clock.advance(duration_s)
        self.settle()

    # What must hold.

    @invariant()
    def one_owner(self) -> None:
        owners: dict[SessionRef | TaskRef, str] = {}
        self.etcd.expire()
        for name, node in self.nodes.items():
            for ref, claim in node.actors.items():
                if not node.stands:
                    continue
                assert ref not in owners, f"{owners[ref]} and {name} both own {ref}"
                owners[ref] = name
                held = self.etcd.kvs.get(KEYS.claim(ref))
                assert held is not None, f"the record under {name}'s live actor was deleted"
                assert held.mod_revision == claim.revision, f"{name}'s record was replaced under its actor"

    @invariant()
    def epochs_grow(self) -> None:
        for node in self.nodes.values():
            for ref, epoch in node.epochs:
                assert epoch > self.epochs.get(ref, 0), f"{ref} was activated under an epoch that is not new"
                self.epochs[ref] = epoch
            node.epochs.clear()
