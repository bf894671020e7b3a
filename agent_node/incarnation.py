"""One incarnation of the node: everything that stands and falls with one lease.

Start: register, then sessions and tasks may be claimed. End: either the fence (the lease may be gone: everything is
dropped at once) or a drain (running turns end, streams are told, the lease is revoked). A node that was fenced joins
again as a new incarnation, with nothing of the old one: that is incarnations.py.
"""

import asyncio
from collections.abc import Mapping

import structlog

from agent_node.admission import BoundedLoad
from agent_node.agent import Agent
from agent_node.audit import AuditLog
from agent_node.following import Peers
from agent_node.host import Host
from agent_node.once import Once
from agent_node.once_keys import OnceKeys, OnceLimits
from agent_node.once_sweep import OrphanSweep, bury_runs
from agent_node.passivation import bury_closed, passivate_idle
from agent_node.session_turns import ENDED
from agent_node.settings import NodeSettings
from agent_node.single_flight import TaskRuns
from agent_node.store import MemoryStore, Store
from agent_node.store.once_records import OnceCaller
from agent_node.turn import RunEnvironment, TurnLimits
from agentring.cluster.claim import Claims
from agentring.cluster.clock import Clock
from agentring.cluster.etcd_errors import EtcdError
from agentring.cluster.registration import Registration
from agentring.errors import CoordinatorUnavailable, NodeFenced
from agentring.ids import TaskRef

_SWEEP_S = 1.0
_CLAIMS_SWEEP_S = 30.0
_TELL_DRAIN_EVERY_S = 1.0

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
        load: BoundedLoad,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """load: how many sessions it takes. durable: where sessions are kept; None: in this incarnation's memory.
        tasks: owns whatever runs here; it must end with the incarnation."""
        self.registration = registration
        limits = TurnLimits(
            settings.turn_timeout_s,
            settings.max_text_bytes,
            settings.max_state_bytes,
            settings.max_history_turns,
            settings.max_turn_attempts,
        )
        store = durable or MemoryStore(max_history_turns=settings.max_history_turns)
        lease, owner = registration.lease, f"{registration.identity.node_id}/{registration.incarnation}"
        once_limits = OnceLimits(
            settings.max_once_keys, settings.max_once_result_bytes, settings.once_retention_s, settings.once_failure_s
        )
        once_keys = OnceKeys(lease, audit, claims, store.once, clock, owner, once_limits, tasks)
        self.once = Once(once_keys, lease, Peers(settings.node_credentials()))
        env = RunEnvironment(registration.identity.node_id, lease, audit, limits, registration.incarnation, self.once)
        slots = asyncio.Semaphore(settings.max_running_turns)
        self._durable = durable
        self._store: Store = store
        self._settings = settings
        self.load = load
        self.host = Host(env, claims, store, agents, clock, settings, slots, tasks, load.takes_new)
        self.task_runs = TaskRuns(env, claims, agents, clock, settings, slots, tasks)
        self._claims = claims
        self._clock = clock
        self._audit = audit

    async def sweep(self) -> None:
        """Gives up what has rested long enough, until cancelled."""
        while True:
            await self._clock.sleep(_SWEEP_S)
            await self.host.bury_tombstones()
            await self.task_runs.forget_ended()
            await self.once.keys.forget_ended()

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

    async def tend_store(self) -> None:
        """Passivates and buries, until cancelled."""
        if self._durable is not None:
            async with asyncio.TaskGroup() as group:
                group.create_task(passivate_idle(self.host, self._clock, self._settings.idle_timeout_s))
                group.create_task(bury_closed(self._durable, self._clock, self._settings.tombstone_s))
                group.create_task(bury_runs(self._durable.once, self._clock))
                orphans = OrphanSweep(self.once.keys, self._durable.once, self._has_ended)
                group.create_task(orphans.run(self._clock, self._settings.lease_ttl_s))

    async def drain(self, timeout_s: float) -> None:
        """Leaves the ring, lets turns and runs end until timeout_s, hands each session on as soon as it can be, and
        gives the lease up."""
        began_s = self._clock.now_s()
        self._audit.write("drain_started")
        self._tell_drain("drain_started")
        try:
            await self.registration.set_draining()
        except (EtcdError, NodeFenced):
            _log.warning("draining_unannounced")  # routers are told by each refusal instead
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell_drain_going_on())
            async with asyncio.TaskGroup() as leaving:
                leaving.create_task(self.host.drain(timeout_s))
                leaving.create_task(self.task_runs.drain(timeout_s))
            await self.once.keys.drain()
            telling.cancel()
        await self.registration.lease.revoke_quietly()
        self._audit.write("drain_done")
        _log.info("drain_done", took_s=round(self._clock.now_s() - began_s, 3))

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

    async def _has_ended(self, caller: OnceCaller) -> bool:
        """Whether the turn or the task that ran a step has ended."""
        if isinstance(caller.ref, TaskRef):
            return await self._claims.owner(caller.ref) is None
        turn = await self._store.read_turn(caller.ref, caller.turn_id)
        return turn is None or turn.state in ENDED
