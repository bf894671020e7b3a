"""One incarnation of the node: everything that stands and falls with one lease.

Start: register, then sessions and tasks may be claimed. End: either the fence (the lease may be gone: everything is
dropped at once) or a drain (running turns end, streams are told, the lease is revoked). A node that was fenced joins
again as a new incarnation, with nothing of the old one: that is supervisor.py.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from agent_node.audit import AuditLog
from agent_node.once.expiry import expire_runs
from agent_node.once.keys import OnceKeys
from agent_node.once.limits import OnceLimits
from agent_node.once.remote import RemoteRuns
from agent_node.once.steps import Once
from agent_node.once.sweep import OrphanSweep, has_ended
from agent_node.ownership.admission import BoundedLoad
from agent_node.run.environment import ChildRunner, RunEnvironment, TurnLimits, owner_name
from agent_node.run.slots import RunSlots
from agent_node.run.wait_cycles import WaitCycles
from agent_node.session import tombstones
from agent_node.session.host import Host
from agent_node.session.memory_limit import MemoryLimit
from agent_node.session.passivation import IdleCollector, IdleEvictor, passivate_by_time
from agent_node.session.sweep import SessionSweep
from agent_node.settings import NodeSettings
from agent_node.store import MemoryStore, MemoryTaskStore, Store, TaskStore
from agent_node.store.clock import VolatileClock
from agent_node.task.expiry import expire_tasks
from agent_node.task.runs import TaskRuns
from agent_node.task.sweep import TaskSweep
from agentring.agent import Agent
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.registration import Registration
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentringError, CoordinatorUnavailable, NodeFenced

_SWEEP_S = 1.0
_CLAIMS_SWEEP_S = 30.0
_TELL_DRAIN_EVERY_S = 1.0
_LAST_STEPS_S = 30.0
"""How long a drain may go on once the time for turns is over."""
_EVICTIONS = 4
"""How often idle sessions are evicted for one new session, while others take the place meanwhile."""

_log = structlog.get_logger()


class Incarnation:
    """A registered node at work."""

    def __init__(
        self,
        registration: Registration,
        claims: Claims,
        agents: Mapping[str, Agent],
        clock: Clock,
        audit: AuditLog,
        settings: NodeSettings,
        durable: Store | None,
        durable_tasks: TaskStore | None,
        membership: Callable[[], MembershipSnapshot | None],
        load: BoundedLoad,
        claims_are_made: Callable[[], bool],
        tasks: asyncio.TaskGroup,
        child_runs: ChildRunner | None,
        missing_agent: Callable[[str], AgentringError],
    ) -> None:
        """load: how many sessions it takes. durable, durable_tasks: where sessions and tasks are kept; None: in this
        incarnation's memory. membership: as it is now; claims_are_made: whether etcd takes claims now. tasks: owns
        whatever runs here; it must end with the incarnation. child_runs: where runs go that may end their process;
        missing_agent: as RunEnvironment's."""
        self.registration = registration
        limits = TurnLimits(
            settings.turn_timeout_s,
            settings.max_text_bytes,
            settings.max_state_bytes,
            settings.max_history_turns,
            settings.max_turn_attempts,
        )
        volatile = VolatileClock(clock)
        store = durable or MemoryStore(max_history_turns=settings.max_history_turns, clock=volatile)
        self.store: Store = store
        lease = registration.lease
        owner = owner_name(registration.identity.node_id, registration.incarnation)
        once_limits = OnceLimits(
            settings.max_once_keys, settings.max_once_result_bytes, settings.once_retention_s, settings.once_failure_s
        )
        once_keys = OnceKeys(lease, audit, claims, store.once, clock, owner, once_limits, tasks)
        self.circles = WaitCycles()
        self.once = Once(once_keys, lease, RemoteRuns(settings.node_credentials()))
        env = RunEnvironment(
            registration.identity.node_id,
            lease,
            audit,
            limits,
            registration.incarnation,
            self.once,
            child_runs,
            missing_agent,
            self.circles,
        )
        slots = RunSlots(settings.max_running_turns, settings.max_waiting_turns)
        self._durable = durable
        self._settings = settings
        self.load = load
        load.arriving = lambda: claims.under_way
        self._membership = membership
        self._claims_are_made = claims_are_made
        self.host = Host(env, claims, store, agents, clock, settings, slots, tasks, self._takes_new)
        self._collector = IdleCollector(self.host, claims_are_made=claims_are_made)
        self._evictor = IdleEvictor(self._collector, tasks)
        self._memory = MemoryLimit(settings.max_memory_mib << 20)
        self.tasks = durable_tasks or MemoryTaskStore(volatile)
        self.task_runs = TaskRuns(env, claims, self.tasks, agents, clock, settings, slots, tasks)
        self._claims = claims
        self._clock = clock
        self._audit = audit

    async def sweep(self) -> None:
        """Gives up what has rested long enough, until cancelled."""
        while True:
            await self._clock.sleep(_SWEEP_S)
            if self._durable is None:
                await tombstones.expire_owned(self.host, self._clock, self._settings.tombstone_s)
            await self.task_runs.forget_ended()
            await self.once.keys.forget_ended()
            self.task_runs.unwatched.cancel_due()

    async def sweep_claims(self) -> None:
        """Gives up what was claimed unnoticed, until cancelled."""
        while True:
            await self._clock.sleep(_CLAIMS_SWEEP_S)
            try:
                await self._claims.sweep(
                    lambda ref: any(ref in place for place in (self.host, self.task_runs, self.once.keys))
                )
            except CoordinatorUnavailable:
                _log.info("claims_not_swept")  # the next one will

    async def keep_memory(self) -> None:
        """Stays within the memory that the node may take, as far as it can, until cancelled."""
        await self._memory.keep(self._clock, self._evictor if self._durable is not None else None)

    async def tend_store(self) -> None:
        """Passivates idle sessions, sweeps and expires, until cancelled."""
        if self._durable is not None:
            session_sweep = SessionSweep(
                self._durable,
                self.host,
                self._membership,
                self.registration.identity.node_id,
                self._clock,
                interval_s=self._settings.lease_ttl_s,
                claims_are_made=self._claims_are_made,
            )
            task_sweep = TaskSweep(
                self.tasks,
                self.task_runs,
                self._membership,
                self.registration.identity.node_id,
                self._clock,
                interval_s=self._settings.lease_ttl_s,
                claims_are_made=self._claims_are_made,
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(passivate_by_time(self._collector, self._clock, self._settings.idle_timeout_s))
                group.create_task(session_sweep.run())
                group.create_task(tombstones.expire_stored(self._durable, self._clock, self._settings.tombstone_s))
                orphans = OrphanSweep(self.once.keys, self._durable.once, partial(has_ended, self._durable, self.tasks))
                group.create_task(task_sweep.run())
                group.create_task(expire_tasks(self.tasks, self._clock))
                group.create_task(orphans.run(self._clock, self._settings.lease_ttl_s))
                group.create_task(expire_runs(self._durable.once, self._clock))

    async def drain(self, timeout_s: float) -> None:
        """Leaves the ring, lets turns and runs end until timeout_s, hands each session on as soon as it can be, and
        gives the lease up, at the latest _LAST_STEPS_S after that."""
        began_s = self._clock.now_s()
        self._audit.write("drain_started")
        self._tell_drain("drain_started")
        try:
            await self.registration.set_draining()
        except (EtcdError, NodeFenced):
            _log.warning("draining_unannounced")  # routers are told by each refusal instead
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell_drain_going_on())
            try:
                async with asyncio.timeout(timeout_s + _LAST_STEPS_S):
                    async with asyncio.TaskGroup() as leaving:
                        leaving.create_task(self.host.drain(timeout_s))
                        leaving.create_task(self.task_runs.drain(timeout_s))
                    await self.once.keys.drain()
            except TimeoutError:
                # Whoever takes up what is left does as after a crash.
                _log.error("drain_cut_off", sessions_left=len(self.host), tasks_running=self.task_runs.running)
            telling.cancel()
        await self.registration.lease.revoke_quietly()
        _log.info("drain_done", took_s=round(self._clock.now_s() - began_s, 3))

    async def _takes_new(self, sessions: Callable[[], int], agent: str) -> bool:
        if self._memory.is_exceeded and (self._durable is None or not await self._evictor.evict()):
            return False
        for _ in range(_EVICTIONS):
            if await self.load.takes_new(sessions, agent):
                return True
            is_full = self._durable is not None and sessions() >= self._settings.max_sessions
            if not (is_full and await self._evictor.evict()):
                return False
        return False

    async def _tell_drain_going_on(self) -> None:
        while True:
            await self._clock.sleep(_TELL_DRAIN_EVERY_S)
            self._tell_drain("drain_going_on")

    def _tell_drain(self, event: str) -> None:
        host, runs = self.host, self.task_runs
        _log.info(event, sessions_left=len(host), turns_running=host.running_turns, tasks_running=runs.running)

    def drop_all(self) -> None:
        """The fence: ends everything at once."""
        self.host.drop_all(NodeFenced())
        self.task_runs.drop_all(NodeFenced())
        self.once.keys.drop_all()
