"""The node's life: one incarnation after the other, from its first join to its drain.

Guarantees: what the services ask for is the incarnation at work or NodeFenced, never one that is over; a fenced node
joins again by itself, with pauses while etcd is away; a drained one waits (parked.py) until its process is to end or it
is to come back, and owns nothing meanwhile. Owned by the
node's app.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from agent_node.audit import AuditLog
from agent_node.lifecycle.clock_skew import ClockSkew, ClockTooFarOff
from agent_node.lifecycle.drain import Drain
from agent_node.lifecycle.incarnation import Incarnation
from agent_node.lifecycle.parked import park, unless_set
from agent_node.lifecycle.store_guard import StoreGuard
from agent_node.lifecycle.upkeep import Upkeep
from agent_node.run.environment import ChildRunner
from agent_node.settings import NodeSettings
from agent_node.store import Store, TaskStore
from agent_node.store.opening import StoreRefused
from agentring.agent import Agent
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdHistoryBroken
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason, Lease
from agentring.cluster.leaving import leave_ring
from agentring.cluster.membership import Membership
from agentring.cluster.registration import NodeIdentity, NodeIdTaken, Registration, join
from agentring.cluster.store_record import StoreDiffers, StoreNotAccepted
from agentring.errors import NodeDraining, NodeFenced, StoreUnavailable

_FIRST_REJOIN_S = 0.25
_LONGEST_REJOIN_S = 2.0
"""Between tries to join again: twice as long after each that failed."""

_JOIN_FAILS = (ClockTooFarOff, EtcdError, NodeIdTaken, StoreDiffers, StoreNotAccepted, StoreRefused, StoreUnavailable)

_log = structlog.get_logger()


class IncarnationSupervisor:
    """The node's life: one incarnation after the other, until it is told to stop."""

    def __init__(
        self,
        etcd: EtcdClient,
        keys: Keys,
        membership: Membership,
        agents: Mapping[str, Agent],
        clock: Clock,
        audit: AuditLog,
        settings: NodeSettings,
        durable: Store | None,
        durable_tasks: TaskStore | None,
        guard: StoreGuard,
        skew: ClockSkew,
        claims_are_made: Callable[[], bool],
        child_runs: ChildRunner | None = None,
    ) -> None:
        """One for a process. durable, durable_tasks, claims_are_made, child_runs: as Incarnation's; guard: of the
        store; skew: of the wall clock."""
        self._claims_are_made = claims_are_made
        self._child_runs = child_runs
        self._durable = durable
        self._durable_tasks = durable_tasks
        self._guard = guard
        self.skew = skew
        self._etcd = etcd
        self._keys = keys
        self._membership = membership
        self._agents = agents
        self._clock = clock
        self._audit = audit
        self._settings = settings
        self._current: Incarnation | None = None
        self.drain = Drain(settings.drain_timeout_s)
        """The one that is asked for, under way or done; another one once the node is back from it."""
        self._stops = False
        self._park_over = asyncio.Event()
        self._at_work = asyncio.Event()
        """Set while there is a current incarnation."""
        ttl_s = settings.lease_ttl_s
        self.upkeep = Upkeep(etcd, keys, clock, membership, ttl_s=ttl_s, store_fences=durable is not None)
        self._renewals_failed = 0
        """Of the incarnations that are over."""

    @property
    def current(self) -> Incarnation:
        """The incarnation at work. Raises NodeFenced where there is none; NodeDraining where none will come, so that
        routers go on to the next node."""
        if self._current is None:
            raise NodeDraining if self.drain.begun.is_set() else NodeFenced
        return self._current

    @property
    def lease(self) -> Lease | None:
        """Of the incarnation at work; None: there is none. Read by the watchdog's thread too."""
        current = self._current
        return current.registration.lease if current is not None else None

    @property
    def renewals_failed(self) -> int:
        """Renewals that were not acknowledged, of all incarnations."""
        lease = self.lease
        return self._renewals_failed + (lease.renewals_failed if lease is not None else 0)

    async def run(self, identity: NodeIdentity, joined: asyncio.Event) -> None:
        """Joins as `identity`, serves, and joins again after each fence and after each drain that is taken back, until
        it is told to stop. Sets `joined` the first time.

        Raises ClockTooFarOff, EtcdError, NodeIdTaken, StoreDiffers, StoreNotAccepted and StoreRefused if the first join
        fails; later ones, and one for which the store does not answer, are tried again until they succeed.
        """
        while True:
            await self._serve(identity, joined)
            self._audit.write("drain_done")  # also of a node that had nothing to drain, being fenced
            self.drain.done.set()
            if not joined.is_set():
                return  # it was told to stop before it had begun
            await park(self._park_over, self._clock, partial(self._join_drained, identity), self.upkeep.registered)
            if self._stops:
                return
            self._park_over.clear()
            self.drain = Drain(self._settings.drain_timeout_s)
            _log.info("drain_taken_back")

    def stop(self) -> None:
        """Drains, and joins no more."""
        self._stops = True
        self.drain.begin()
        self._park_over.set()

    async def begin_drain(self, timeout_s: float, *, force: bool) -> None:
        """Asks for the drain, if it was not. timeout_s: as Drain.begin; force: also of the last node that hosts an
        agent. Raises LastNodeOfAgent, CoordinatorUnavailable, NodeFenced."""
        if not force and not self.drain.begun.is_set() and self._current is not None:
            await leave_ring(self._etcd, self._keys, self._current.registration)
        self.drain.begin(timeout_s)

    async def undrain(self) -> Incarnation:
        """Has the node join again, once it is drained, and returns with it at work. Raises NodeDraining where the
        process is about to end, NodeFenced. Cancellation: it joins all the same."""
        if self._stops:
            raise NodeDraining
        drain = self.drain
        if drain.begun.is_set():
            self._park_over.set()
            await drain.done.wait()
        await self._at_work.wait()
        return self.current

    async def _serve(self, identity: NodeIdentity, joined: asyncio.Event) -> None:
        """Until it was drained."""
        wait_s = _FIRST_REJOIN_S
        while not self.drain.begun.is_set():
            try:
                registration = await unless_set(self.drain.begun, self._join(identity))
            except _JOIN_FAILS as error:
                if not joined.is_set() and not isinstance(error, StoreUnavailable):
                    raise
                _log.warning("join_failed", error=str(error), again_in_s=wait_s)
                await unless_set(self.drain.begun, self._clock.sleep(wait_s))
                wait_s = min(2 * wait_s, _LONGEST_REJOIN_S)
                continue
            if registration is None:
                continue
            joined_s = self._clock.now_s()
            await self._live(registration, joined)
            if self._clock.now_s() - joined_s > _LONGEST_REJOIN_S:
                wait_s = _FIRST_REJOIN_S
            else:  # whatever ends it at once may do so again and again
                await unless_set(self.drain.begun, self._clock.sleep(wait_s))
                wait_s = min(2 * wait_s, _LONGEST_REJOIN_S)

    def give_up(self) -> None:
        """Leaves at once, without a drain: nobody can reach this node, so others must have what it holds."""
        if (lease := self.lease) is not None:
            lease.fence(FenceReason.NOT_SERVING)
        self.stop()

    async def _join_drained(self, identity: NodeIdentity) -> Registration | None:
        try:
            return await self._join(identity, drained=True)
        except _JOIN_FAILS as error:
            _log.warning("join_failed", error=str(error), drained=True)
            return None

    async def _join(self, identity: NodeIdentity, *, drained: bool = False) -> Registration:
        await self._membership.history.begin()
        if self._membership.closed.is_set():
            raise EtcdHistoryBroken  # it opens in a moment, if an operator has begun a new generation
        await self._guard.admit()
        await self.skew.check()
        return await join(
            self._etcd,
            self._keys,
            self._clock,
            identity,
            ttl_s=self._settings.lease_ttl_s,
            timeout_s=self._settings.join_timeout_s,
            history=self._membership.history,
            drained=drained,
        )

    async def _live(self, registration: Registration, joined: asyncio.Event) -> None:
        """From the registration to its end."""
        async with asyncio.TaskGroup() as tasks:
            claims = Claims(
                self._etcd,
                self._keys,
                registration,
                tasks,
                timeout_s=self._settings.etcd_timeout_s,
                left=self.upkeep.left_claims,
            )
            incarnation = Incarnation(
                registration,
                claims,
                self._agents,
                self._clock,
                self._audit,
                self._settings,
                self._durable,
                self._durable_tasks,
                lambda: self._membership.current,
                self.upkeep.load(registration, self._settings),
                self._claims_are_made,
                tasks,
                self._child_runs,
                self.upkeep.known_agents.missing,
            )
            background = [
                tasks.create_task(registration.lease.keep()),
                *(tasks.create_task(each) for each in self.upkeep.serving(registration)),
                tasks.create_task(self._guard.watch(registration.lease)),
                tasks.create_task(self.skew.run()),
                tasks.create_task(incarnation.sweep()),
                tasks.create_task(incarnation.sweep_claims()),
                tasks.create_task(incarnation.load.count(lambda: incarnation.host.owned_or_claimed)),
                tasks.create_task(incarnation.tend_store()),
                tasks.create_task(incarnation.keep_memory()),
            ]
            self._audit.incarnation = registration.incarnation
            self._guard.admitted()
            self._audit.write("joined")
            _log.info("joined", incarnation=registration.incarnation, lease_id=registration.lease.lease_id)
            self._current = incarnation
            self._at_work.set()
            joined.set()
            reason = await self._until_over(registration, tasks)
            if reason is None:
                reason = await self._drain(incarnation, tasks)
            if reason is not None:
                _log.error("fenced", reason=reason)
                self._audit.write("fenced", reason=reason)
            self._current = None
            self._at_work.clear()
            self._renewals_failed += registration.lease.renewals_failed
            incarnation.drop_all()
            if reason is FenceReason.STORE_REPLACED:
                await self._guard.tell()
            if reason is not None:
                # What is left of the lease would keep our sessions from their next owners until it runs out.
                await registration.lease.revoke_quietly()
            for task in background:
                task.cancel()

    async def _until_over(self, registration: Registration, tasks: asyncio.TaskGroup) -> FenceReason | None:
        fenced = tasks.create_task(registration.lease.fenced())
        stopping = tasks.create_task(self.drain.begun.wait())
        await asyncio.wait([fenced, stopping], return_when=asyncio.FIRST_COMPLETED)
        reason = fenced.result() if fenced.done() else None
        fenced.cancel()
        stopping.cancel()
        return reason

    async def _drain(self, incarnation: Incarnation, tasks: asyncio.TaskGroup) -> FenceReason | None:
        """Drains; the reason if the fence came before the drain was over."""
        fenced = tasks.create_task(incarnation.registration.lease.fenced())
        draining = tasks.create_task(incarnation.drain(self.drain.timeout_s))
        await asyncio.wait([draining, fenced], return_when=asyncio.FIRST_COMPLETED)
        if fenced.done() and fenced.result() is not FenceReason.REVOKED:
            draining.cancel()
            return fenced.result()
        await asyncio.wait([draining])  # its last step revokes the lease
        fenced.cancel()
        return None
