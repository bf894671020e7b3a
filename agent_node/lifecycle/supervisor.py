"""The node's life: one incarnation after the other, from its first join to its drain.

Guarantees: what the services ask for is the incarnation at work or NodeFenced, never one that is over; a fenced node
joins again by itself, with pauses while etcd is away; a drained one waits (drained_registration.py) until its process
is to end or it is to come back, and owns nothing meanwhile. Owned by the node's app.
"""

import asyncio
from functools import partial

import structlog

from agent_node.lifecycle.clock_skew import ClockSkew, ClockTooFarOff
from agent_node.lifecycle.cluster_duties import ClusterDuties
from agent_node.lifecycle.drain import Drain
from agent_node.lifecycle.drained_registration import wait_as_drained
from agent_node.lifecycle.incarnation import Incarnation
from agent_node.lifecycle.interruptible import unless_set
from agent_node.lifecycle.resources import NodeResources
from agent_node.lifecycle.store_guard import StoreGuard
from agent_node.store.opening import StoreRefused
from agentring.cluster.etcd.errors import EtcdError, EtcdHistoryBroken
from agentring.cluster.lease import FenceReason, Lease
from agentring.cluster.leaving import leave_ring
from agentring.cluster.registration import NodeIdentity, NodeIdTaken, Registration, join
from agentring.cluster.store_record import StoreDiffers, StoreNotAccepted
from agentring.errors import NodeDraining, NodeFenced, StoreUnavailable

_FIRST_REJOIN_S = 0.25
_LONGEST_REJOIN_S = 2.0
"""Between tries to rejoin: twice as long after each that failed."""

_JOIN_FAILS = (ClockTooFarOff, EtcdError, NodeIdTaken, StoreDiffers, StoreNotAccepted, StoreRefused, StoreUnavailable)

_log = structlog.get_logger()


class IncarnationSupervisor:
    """The node's life: one incarnation after the other, until it is to stop."""

    def __init__(self, resources: NodeResources, guard: StoreGuard, skew: ClockSkew) -> None:
        """One for a process. guard: of the store; skew: of the wall clock."""
        self._resources = resources
        self._guard = guard
        self.skew = skew
        self._current: Incarnation | None = None
        self.drain = Drain(resources.settings.drain_timeout_s)
        """The one that is asked for, under way or done; another one once the node is back from it."""
        self._stops = False
        self._wait_over = asyncio.Event()
        """Set once a drained node is to end, or to come back."""
        self._at_work = asyncio.Event()
        """Set while there is a current incarnation."""
        self.duties = ClusterDuties(resources)
        self.registered_as = 0
        """The incarnation of the latest registration, a drained one's too; 0: there was none."""
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
        it is to stop. Sets `joined` the first time.

        Raises ClockTooFarOff, EtcdError, NodeIdTaken, StoreDiffers, StoreNotAccepted and StoreRefused if the first join
        fails; later ones, and one for which the store does not answer, are tried again until they succeed.
        """
        while True:
            await self._serve(identity, joined)
            self._resources.audit.write("drain_done")  # also of a node that had nothing to drain, being fenced
            self.drain.done.set()
            if not joined.is_set():
                return  # it was to stop before it had begun
            join = partial(self._join_drained, identity)
            await wait_as_drained(self._wait_over, self._resources.clock, join, self.duties.registered)
            if self._stops:
                return
            self._wait_over.clear()
            self.drain = Drain(self._resources.settings.drain_timeout_s)
            _log.info("drain_taken_back")

    def stop(self) -> None:
        """Drains, and joins no more."""
        self._stops = True
        self.drain.begin()
        self._wait_over.set()

    async def begin_drain(self, timeout_s: float, *, force: bool) -> None:
        """Asks for the drain, if it was not. timeout_s: as Drain.begin; force: also of the last node that hosts an
        agent. Raises LastNodeOfAgent, CoordinatorUnavailable, NodeFenced."""
        if not force and not self.drain.begun.is_set() and self._current is not None:
            await leave_ring(self._resources.etcd, self._resources.keys, self._current.registration)
        self.drain.begin(timeout_s)

    async def undrain(self) -> Incarnation:
        """Has the node join again, once it is drained, and returns with it at work. Raises NodeDraining where the
        process is about to end, NodeFenced. Cancellation: it joins all the same."""
        if self._stops:
            raise NodeDraining
        drain = self.drain
        if drain.begun.is_set():
            self._wait_over.set()
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
                await unless_set(self.drain.begun, self._resources.clock.sleep(wait_s))
                wait_s = min(2 * wait_s, _LONGEST_REJOIN_S)
                continue
            if registration is None:
                continue
            joined_s = self._resources.clock.now_s()
            await self._live(registration, joined)
            if self._resources.clock.now_s() - joined_s > _LONGEST_REJOIN_S:
                wait_s = _FIRST_REJOIN_S
            else:  # what has ended it at once may end the next one at once
                await unless_set(self.drain.begun, self._resources.clock.sleep(wait_s))
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
        await self._resources.membership.history.begin()
        if self._resources.membership.closed.is_set():
            raise EtcdHistoryBroken  # it opens in a moment, if an operator has begun a new generation
        await self._guard.admit()
        await self.skew.check()
        registration = await join(
            self._resources.etcd,
            self._resources.keys,
            self._resources.clock,
            identity,
            ttl_s=self._resources.settings.lease_ttl_s,
            timeout_s=self._resources.settings.join_timeout_s,
            history=self._resources.membership.history,
            drained=drained,
        )
        self.registered_as = registration.incarnation
        return registration

    async def _live(self, registration: Registration, joined: asyncio.Event) -> None:
        """From the registration to its end."""
        async with asyncio.TaskGroup() as tasks:
            incarnation = Incarnation(self._resources, self.duties, registration, tasks)
            works = [
                registration.lease.keep(),
                *self.duties.serving(registration),
                self._guard.watch(registration.lease),
                self.skew.run(),
            ]
            background = [tasks.create_task(work) for work in works]
            # Nothing may begin here before it is known what is halted.
            await unless_set(self.drain.begun, self._resources.halts.begin(registration.lease))
            background += [tasks.create_task(work) for work in incarnation.background()]
            self._resources.audit.incarnation = registration.incarnation
            self._guard.admitted()
            self._resources.audit.write("joined")
            _log.info("joined", incarnation=registration.incarnation, lease_id=registration.lease.lease_id)
            self._current = incarnation
            self._at_work.set()
            joined.set()
            reason = await self._until_over(registration, tasks)
            if reason is None:
                reason = await self._drain(incarnation, tasks)
            if reason is not None:
                _log.error("fenced", reason=reason)
                self._resources.audit.write("fenced", reason=reason)
            self._current = None
            self._at_work.clear()
            self._renewals_failed += registration.lease.renewals_failed
            incarnation.drop_all()
            if reason is FenceReason.STORE_REPLACED:
                await self._guard.record_replacement()
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
