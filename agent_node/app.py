"""A node, from start to stop.

Start: 1. open what the agents need (their lifespans); 2. lock the data directory; 3. open the store, which must be this
cluster's; 4. bind and serve (every call answers NODE_FENCED until joined); 5. watch the membership; 6. join; 7.
healthy. Stop is the reverse: drain (unhealthy, streams ended, lease revoked), then the server, then the rest. A node
that finds that it does not serve any more gives its lease up at once, and ends.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from agent_node.agents.lifespans import Lifespans, OpenedAgent
from agent_node.agents.registry import LoadedAgents, hosted
from agent_node.audit import AuditLog, FileAuditLog, NoAuditLog, ObservedAudit
from agent_node.child_process.fork_server import ForkServer
from agent_node.child_process.runs import ChildRuns
from agent_node.halt.reading import HaltReader
from agent_node.lifecycle.clock_skew import ClockSkew
from agent_node.lifecycle.data_dir import DataDir, boot_id
from agent_node.lifecycle.interruptible import unless_set
from agent_node.lifecycle.resources import NodeResources
from agent_node.lifecycle.store_guard import StoreGuard
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.lifecycle.watchdog import Watchdog, end_process
from agent_node.metrics import NodeMetrics
from agent_node.quota.limits_in_use import open_limits
from agent_node.services.blob import BlobService
from agent_node.services.node import NodeService
from agent_node.services.once import OnceService
from agent_node.services.session import SessionService
from agent_node.services.task import TaskService
from agent_node.settings import NodeSettings
from agent_node.store.opening import ClusterIdentity, machine_id, open_store
from agent_node.store.sql.sessions import SqlStore
from agentring.agent import Agent
from agentring.audit.anchoring import no_store_keeps_heads
from agentring.audit.calls import RecordedCalls
from agentring.audit.process_log import open_process_log
from agentring.auth.permissions import NODE_SUBJECT
from agentring.cluster.clock import BootClock, Clock
from agentring.cluster.condition import Condition, ConditionBoard
from agentring.cluster.coordinator import CoordinatorProbe
from agentring.cluster.etcd.access_control import connected
from agentring.cluster.history import ClusterHistory
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.registration import NodeIdentity
from agentring.ids import NodeId
from agentring.process import forks
from agentring.process.access import credentials_of, open_access
from agentring.process.collector import settle_collector
from agentring.process.descriptors import raise_limit
from agentring.process.entry import Ready
from agentring.process.self_check import CannotServe, Fault, SelfCheck
from agentring.rpc import metrics
from agentring.rpc.access import NodeAccess
from agentring.rpc.probe import probe
from agentring.rpc.server import Server
from agentring.v1 import blob_pb2, node_pb2, once_pb2, session_pb2, task_pb2

_STOP_GRACE_S = 1.0
_STARVED_S = 3.0
"""A run's own process may stand still for so much longer than the lease: it is one of many on the machine."""
_GIVE_UP_S = 10.0
"""How long a node that does not serve may take to give up what it holds."""
_DESCRIPTORS = 16_384
"""What a node asks for, its agents' among them."""


async def run_node(
    settings: NodeSettings,
    loaded: LoadedAgents,
    stop: asyncio.Event,
    ready: Ready,
    forker: ForkServer | None = None,
) -> None:
    """Serves until `stop` is set, then drains. `ready` is called with the address once the node has joined, and with
    the names of its agents and a line for each one that could not be loaded. forker: forks the processes of runs that
    may have ended a node; None: they are run as all others.

    Raises BadKey; CannotServe where it found that it does not serve any more, or can fork no child processes any more;
    DataDirInUse, FileRefused, CannotListen, ClockTooFarOff, NodeIdTaken, StoreDiffers, StoreNotAccepted,
    StoreRefused, EtcdError, OSError.
    """
    raise_limit(_DESCRIPTORS)
    agents = hosted(loaded.by_name, settings.require, settings.labels)
    lifespans = Lifespans(agents, loaded.settings)
    try:
        left_out = await unless_set(stop, lifespans.open())
        if left_out is not None:
            opened = {name: agent for name, agent in agents.items() if name not in left_out}
            all_left_out = (*loaded.left_out, *left_out.values())
            await _serve(settings, opened, lifespans.opened, stop, partial(ready, agents_left_out=all_left_out), forker)
    finally:
        await lifespans.close()


async def _serve(
    settings: NodeSettings,
    agents: Mapping[str, Agent],
    opened: Mapping[str, OpenedAgent],
    stop: asyncio.Event,
    ready: Ready,
    forker: ForkServer | None,
) -> None:
    clock = BootClock()
    keys = Keys(settings.cluster)
    node_id = NodeId(settings.node_id)
    access = open_access(settings.auth, settings.cluster_secret_file, settings.cluster, NODE_SUBJECT + node_id)
    limits = open_limits(settings.limits, names_tenants=settings.tenant_metrics)
    signer = access.signer if access is not None else None
    child_runs = ChildRuns(forker, settings.lease_ttl_s + _STARVED_S) if forker is not None else None
    with ExitStack() as stack:
        data_dir = stack.enter_context(DataDir(settings.data_dir))
        audit = _open_audit_log(settings, stack)
        async with connected(
            settings.etcd, settings.etcd_tls(), settings.etcd_login(), settings.etcd_timeout_s
        ) as etcd:
            membership = Membership(etcd, keys, clock)
            await membership.history.begin()
            durable = await unless_set(stop, _open_store(settings, membership.history, clock))
            if stop.is_set():
                if durable is not None:
                    await durable.close()
                return
            board = ConditionBoard()
            observed = ObservedAudit(audit, board)
            guard = StoreGuard(durable, etcd, keys, lambda: _identity(membership.history))
            skew = ClockSkew(
                etcd, keys, clock, node_id, settings.node_credentials, settings.max_clock_skew_s, signer=signer
            )
            resources = NodeResources(
                settings=settings,
                etcd=etcd,
                keys=keys,
                membership=membership,
                halts=HaltReader(etcd, keys, clock, durable.halts if durable is not None else None),
                claims_are_made=lambda: board.trouble is None,
                clock=clock,
                agents=agents,
                audit=observed,
                durable=durable,
                opened=opened,
                limits=limits,
                child_runs=child_runs,
                is_revoked=access.accepted_work.is_revoked if access is not None else None,
                signer=signer,
            )
            incarnations = IncarnationSupervisor(resources, guard, skew)
            keep_head = durable.access_heads.keep if durable is not None else no_store_keeps_heads
            access_log = open_process_log(settings, f"node/{settings.node_id}", keep_head, clock.sleep, stack)
            server = Server(
                settings.listen,
                {
                    session_pb2.DESCRIPTOR.services_by_name["SessionService"]: SessionService(incarnations, settings),
                    task_pb2.DESCRIPTOR.services_by_name["TaskService"]: TaskService(incarnations, settings),
                    blob_pb2.DESCRIPTOR.services_by_name["BlobService"]: BlobService(incarnations, settings),
                    once_pb2.DESCRIPTOR.services_by_name["OnceService"]: OnceService(incarnations),
                    node_pb2.DESCRIPTOR.services_by_name["NodeService"]: NodeService(
                        incarnations, keep_head, resources.halts, settings.node_id
                    ),
                },
                first_frame_timeout_s=settings.first_frame_timeout_s,
                tls=settings.server_tls(),
                recorder=RecordedCalls(access_log.log) if access_log is not None else None,
                access=NodeAccess(access.control, access.signatures(incarnations), settings.cluster)
                if access
                else None,
            )
            forks.close_port_in_children(int(server.address.rpartition(":")[2]))
            identity = _node_identity(settings, frozenset(agents), server.address, data_dir, guard)
            board.on_change(
                lambda: server.set_condition(
                    board.condition.serves, board.trouble is None, sessions=board.serves_sessions
                )
            )
            if settings.metrics_listen is not None:
                driver = durable.driver if durable is not None else None
                parts = (board, observed, incarnations, driver, child_runs, access_log, limits, credentials_of(access))
                port = metrics.serve(NodeMetrics(*parts), settings.metrics_listen, settings.metrics_tls())
                forks.close_port_in_children(port)
            stack.enter_context(
                Watchdog(lambda: incarnations.lease, clock, partial(end_process, asyncio.get_running_loop()))
            )
            await server.start()
            forker_ended = asyncio.Event()
            if forker is not None:
                forker.watch(forker_ended.set)
            fault = Fault()
            self_check = SelfCheck(
                partial(probe, server.address, settings.self_check_tls()),
                fault,
                interval_s=settings.self_check_s,
                # A loop that stands still is the watchdog's while the lease lasts.
                patience_s=max(settings.self_check_patience_s, settings.lease_ttl_s),
                grace_s=_GIVE_UP_S,
            )
            try:
                async with asyncio.TaskGroup() as group:
                    works = (
                        _report_end(server, fault),
                        membership.run(),
                        CoordinatorProbe(etcd, keys, clock, board).run(),
                        guard.run(),
                        resources.halts.run(),
                        *([access.credentials.run()] if access is not None else []),
                    )
                    background = [group.create_task(work) for work in works]
                    joined = asyncio.Event()
                    living = group.create_task(incarnations.run(identity, joined))
                    await _first_of(group, joined, stop, fault.found)
                    if joined.is_set():
                        # Else each full collection goes through all that was imported: a stop of 0.1 s, and it comes
                        # when much is made at once, as where a failed node's sessions are taken over.
                        settle_collector()
                        with self_check:
                            await self_check.first()
                            ready(server.address, agents=list(agents))
                            await _first_of(group, stop, fault.found, forker_ended)
                            board.enter(Condition.DRAINING)
                            await _leave(group, incarnations, living, fault)
                    for task in (*background, living):
                        task.cancel()
                await guard.leave()
            finally:
                await server.stop(_STOP_GRACE_S)
                if access_log is not None:
                    await access_log.close()
                if durable is not None:
                    await durable.close()
            fault.check()
            if forker_ended.is_set() and not stop.is_set():
                raise CannotServe("the process that forks those of the runs apart has ended")


def _open_audit_log(settings: NodeSettings, stack: ExitStack) -> AuditLog:
    if settings.audit_log is None:
        return NoAuditLog()
    audit = FileAuditLog(settings.audit_log, NodeId(settings.node_id))
    stack.callback(audit.close)
    return audit


def _node_identity(
    settings: NodeSettings, agents: frozenset[str], address: str, data_dir: DataDir, guard: StoreGuard
) -> NodeIdentity:
    return NodeIdentity(
        node_id=NodeId(settings.node_id),
        address=settings.advertise or address,
        agents=agents,
        weight=settings.weight,
        labels=settings.labels,
        boot_id=boot_id(),
        data_uuid=data_dir.uuid,
        store=guard.store,
    )


async def _leave(
    group: asyncio.TaskGroup, incarnations: IncarnationSupervisor, living: "asyncio.Task[None]", fault: Fault
) -> None:
    """Drains the node; one that does not serve any more, before or meanwhile, gives its lease up at once."""
    if not fault.found.is_set():
        incarnations.stop()
    waiting = group.create_task(fault.found.wait())
    await asyncio.wait([living, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if fault.found.is_set():
        incarnations.give_up()
        await asyncio.wait([living])


async def _report_end(server: Server, fault: Fault) -> None:
    await asyncio.shield(server.ended)
    fault.report("the server has ended")


def _identity(history: ClusterHistory) -> ClusterIdentity:
    return ClusterIdentity(history.generation, history.cluster_uuid, machine_id(), boot_id())


async def _open_store(settings: NodeSettings, history: ClusterHistory, clock: Clock) -> SqlStore | None:
    return await open_store(
        settings.store_url,
        _identity(history),
        timeout_s=settings.store_timeout_s,
        max_history_turns=settings.max_history_turns,
        clock=clock,
        wait_s=settings.store_wait_s,
    )


async def _first_of(group: asyncio.TaskGroup, *events: asyncio.Event) -> None:
    waits = [group.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
