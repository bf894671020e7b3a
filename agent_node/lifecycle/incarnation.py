"""One incarnation of the node: everything that stands and falls with one lease.

Start: register, then sessions and tasks may be claimed. End: either the fence (the lease may be gone: everything is
dropped at once) or a drain (running turns end, streams end with NODE_DRAINING, the lease is revoked). A node that was
fenced joins again as a new incarnation, with nothing of the old one: that is supervisor.py.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import structlog

from agent_node.lifecycle.cluster_duties import ClusterDuties
from agent_node.lifecycle.halting import stop_halted
from agent_node.lifecycle.page_key import page_key
from agent_node.lifecycle.resources import NodeResources
from agent_node.once.expiry import expire_runs
from agent_node.once.keys import OnceKeys
from agent_node.once.limits import OnceLimits
from agent_node.once.remote import RemoteRuns
from agent_node.once.steps import Once
from agent_node.once.sweep import OrphanSweep, has_ended
from agent_node.ownership.admission import Admission, BoundedLoad
from agent_node.quota.limits_in_use import LimitsInUse
from agent_node.quota.quota import Quota
from agent_node.run.environment import RunEnvironment, TurnLimits, owner_name
from agent_node.run.slots import RunSlots
from agent_node.run.wait_cycles import WaitCycles
from agent_node.session import tombstones, unused_files
from agent_node.session.host import Host
from agent_node.session.memory_limit import MemoryLimit
from agent_node.session.passivation import IdleCollector, IdleEvictor, passivate_by_time
from agent_node.session.sweep import SessionSweep
from agent_node.settings import NodeSettings
from agent_node.store import MemoryStore, MemoryTaskStore, Store, TaskStore
from agent_node.store.clock import VolatileClock
from agent_node.store.file_records import UNUSED_S
from agent_node.store.sql.sessions import SqlStore
from agent_node.task.expiry import expire_tasks
from agent_node.task.runs import TaskRuns
from agent_node.task.sweep import TaskSweep
from agentring.cluster.claim import Claims
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.registration import Registration
from agentring.errors import CoordinatorUnavailable, NodeFenced
from agentring.ids import SessionRef, TaskRef

_SWEEP_S = 1.0
_CLAIMS_SWEEP_S = 30.0
_REPORT_DRAIN_EVERY_S = 1.0
_LAST_STEPS_S = 30.0
"""How long a drain may go on once the time for turns is over."""

_log = structlog.get_logger()


class Incarnation:
    """A registered node at work."""

    def __init__(
        self, resources: NodeResources, duties: ClusterDuties, registration: Registration, tasks: asyncio.TaskGroup
    ) -> None:
        """tasks: owns whatever runs here; it must end with the incarnation."""
        self._resources = resources
        self.registration = registration
        settings, clock, node_id = resources.settings, resources.clock, registration.identity.node_id
        volatile = VolatileClock(clock)
        self.store: Store = resources.durable or MemoryStore(
            max_history_turns=settings.max_history_turns, clock=volatile
        )
        self.task_store: TaskStore = (
            resources.durable.tasks if resources.durable is not None else MemoryTaskStore(volatile)
        )
        secret = resources.durable.page_secret if resources.durable is not None else None
        self.page_key = page_key(secret, resources.membership.history.cluster_uuid)
        """Of the lists' page tokens."""
        self._claims = claims = Claims(
            resources.etcd,
            resources.keys,
            registration,
            tasks,
            timeout_s=settings.etcd_timeout_s,
            orphaned=duties.orphaned_claims,
        )
        owner = owner_name(node_id, registration.incarnation)
        once_keys = OnceKeys(
            registration.lease,
            resources.audit,
            claims,
            self.store.once,
            clock,
            owner,
            _once_limits(settings),
            tasks,
        )
        self.once = Once(once_keys, registration.lease, RemoteRuns(settings.node_credentials, proof=resources.proof))
        self.wait_cycles = WaitCycles()
        env = RunEnvironment(
            node_id,
            registration.lease,
            resources.audit,
            _turn_limits(settings),
            registration.incarnation,
            self.once,
            resources.child_runs,
            duties.known_agents.missing,
            self.wait_cycles,
            resources.opened,
            halts=resources.halts.halts,
            quota=self._quota(resources.limits),
            is_revoked=resources.is_revoked,
        )
        self.quota = env.quota
        """What tenants have here; None: they have no limits."""
        self._tasks = tasks
        self._load = BoundedLoad(
            resources.etcd,
            resources.keys,
            clock,
            resources.membership,
            node_id,
            load_factor=settings.load_factor,
            max_sessions=settings.max_sessions,
            arriving=lambda: claims.under_way,
        )
        self._memory = MemoryLimit(settings.max_memory_mib << 20)
        admission = Admission(
            self._load,
            max_sessions=settings.max_sessions,
            memory_exceeded=lambda: self._memory.is_exceeded,
            evict=self._evict,
        )
        slots = RunSlots(settings.max_running_turns, settings.max_waiting_turns, env.quota)
        self._slots = slots
        agents = resources.agents
        self.host = Host(env, claims, self.store, agents, clock, settings, slots, tasks, admission.admit)
        self._collector = IdleCollector(self.host, claims_are_made=resources.claims_are_made)
        self._evictor = IdleEvictor(self._collector, tasks)
        self.task_runs = TaskRuns(env, claims, self.task_store, agents, clock, settings, slots, tasks)

    def _quota(self, limits: LimitsInUse | None) -> Quota | None:
        if limits is None:
            return None
        resources = self._resources
        node_id = self.registration.identity.node_id
        return limits.quota(node_id, lambda: resources.membership.current, resources.clock.now_s)

    async def raise_if_held_elsewhere(self, ref: SessionRef | TaskRef) -> None:
        """Raises NotOwner or SessionMoving where another node has it; CoordinatorUnavailable."""
        if ref not in self.host and ref not in self.task_runs:
            await self._claims.raise_if_held_elsewhere(ref)

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run beside calls, until it is cancelled."""
        durable = self._resources.durable
        works = [
            self._load.count(lambda: self.host.owned_or_claimed),
            self._memory.keep(self._resources.clock, self._evictor if durable is not None else None),
            self._expire_held(),
            self._sweep_claims(),
            self._resources.halts.keep(self.registration.lease),
            stop_halted(self._resources.halts.halts, self.host, self.task_runs, self._tasks),
        ]
        if (limits := self._resources.limits) is not None:
            works.append(limits.run(self._resources.clock.sleep, self._slots.grant_free))
        if self.quota is not None and durable is not None:
            clock = self._resources.clock
            works.append(self.quota.stored.run(durable.stored_bytes.of, clock.sleep, clock.now_s))
        return works if durable is None else [*works, *self._tend_store(durable)]

    def _tend_store(self, durable: SqlStore) -> list[Coroutine[Any, Any, None]]:
        """Passivates idle sessions, takes over what dead nodes left, and removes what has expired."""
        resources, node_id = self._resources, self.registration.identity.node_id
        clock, settings, membership = resources.clock, resources.settings, resources.membership
        session_sweep = SessionSweep(
            durable,
            self.host,
            lambda: membership.current,
            node_id,
            clock,
            interval_s=settings.lease_ttl_s,
            claims_are_made=resources.claims_are_made,
        )
        task_sweep = TaskSweep(
            self.task_store,
            self.task_runs,
            lambda: membership.current,
            node_id,
            clock,
            interval_s=settings.lease_ttl_s,
            claims_are_made=resources.claims_are_made,
        )
        orphans = OrphanSweep(self.once.keys, durable.once, partial(has_ended, durable, self.task_store))
        return [
            passivate_by_time(self._collector, clock, settings.idle_timeout_s),
            session_sweep.run(),
            tombstones.expire_stored(durable, clock, settings.tombstone_s),
            tombstones.remove_leftovers(durable, clock),
            unused_files.expire(durable, clock),
            task_sweep.run(),
            expire_tasks(self.task_store, clock),
            orphans.run(clock, settings.lease_ttl_s),
            expire_runs(durable.once, clock),
        ]

    async def _expire_held(self) -> None:
        """Gives up what the node holds whose retention is over, until cancelled."""
        resources = self._resources
        while True:
            await resources.clock.sleep(_SWEEP_S)
            if resources.durable is None:
                await tombstones.expire_owned(self.host, resources.clock, resources.settings.tombstone_s)
                await self.store.files.expire(UNUSED_S)
            await self.task_runs.forget_ended()
            await self.once.keys.forget_ended()
            self.task_runs.unwatched.cancel_due()

    async def _sweep_claims(self) -> None:
        """Gives up what was claimed unnoticed, until cancelled."""
        while True:
            await self._resources.clock.sleep(_CLAIMS_SWEEP_S)
            try:
                await self._claims.sweep(
                    lambda ref: any(ref in owner for owner in (self.host, self.task_runs, self.once.keys))
                )
            except CoordinatorUnavailable:
                _log.info("claims_not_swept")  # the next one will

    async def _evict(self) -> bool:
        """Passivates idle sessions; False: none could be, as on a volatile store, where they would be lost."""
        return self._resources.durable is not None and await self._evictor.evict()

    async def drain(self, timeout_s: float) -> None:
        """Leaves the ring, lets turns and runs end until timeout_s, hands each session on as soon as it can be, and
        gives the lease up, at the latest _LAST_STEPS_S after that."""
        began_s = self._resources.clock.now_s()
        self._resources.audit.write("drain_started")
        self._log_progress("drain_started")
        try:
            await self.registration.set_draining()
        except (EtcdError, NodeFenced):
            _log.warning("draining_unannounced")  # each refusal says so to the routers instead
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._report_drain())
            try:
                async with asyncio.timeout(timeout_s + _LAST_STEPS_S):
                    async with asyncio.TaskGroup() as leaving:
                        leaving.create_task(self.host.drain(timeout_s))
                        leaving.create_task(self.task_runs.drain(timeout_s))
                    await self.once.keys.drain()
            except TimeoutError:
                # The next owners of what is left do as after a crash.
                _log.error("drain_cut_off", sessions_left=len(self.host), tasks_running=self.task_runs.running)
            reporting.cancel()
        await self.registration.lease.revoke_quietly()
        _log.info("drain_done", took_s=round(self._resources.clock.now_s() - began_s, 3))

    async def _report_drain(self) -> None:
        while True:
            await self._resources.clock.sleep(_REPORT_DRAIN_EVERY_S)
            self._log_progress("drain_going_on")

    def _log_progress(self, event: str) -> None:
        host, runs = self.host, self.task_runs
        _log.info(event, sessions_left=len(host), turns_running=host.running_turns, tasks_running=runs.running)

    def drop_all(self) -> None:
        """The fence: ends everything at once."""
        self.host.drop_all(NodeFenced())
        self.task_runs.drop_all(NodeFenced())
        self.once.keys.drop_all()


def _turn_limits(settings: NodeSettings) -> TurnLimits:
    return TurnLimits(
        settings.turn_timeout_s,
        settings.max_text_bytes,
        settings.max_state_bytes,
        settings.max_history_turns,
        settings.max_turn_attempts,
        max_storage_bytes=settings.max_storage_bytes,
    )


def _once_limits(settings: NodeSettings) -> OnceLimits:
    return OnceLimits(
        settings.max_once_keys, settings.max_once_result_bytes, settings.once_retention_s, settings.once_failure_s
    )
