"""A router, from start to stop.

Start: 1. read the cluster's meta record; 2. serve its own services on a unix socket; 3. watch the membership and build
the first ring; 4. listen for clients; 5. healthy. Stop is the reverse. A router that finds that it does not serve any
more stops likewise, and ends.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

import structlog

from agentring.audit.calls import RecordedCalls, RelayedCalls
from agentring.audit.process_log import open_process_log
from agentring.auth.permissions import ROUTER_SUBJECT
from agentring.cluster.clock import BootClock
from agentring.cluster.condition import Condition, ConditionBoard
from agentring.cluster.coordinator import CoordinatorProbe
from agentring.cluster.etcd.access_control import connected
from agentring.cluster.etcd.errors import EtcdError, EtcdUnavailable
from agentring.cluster.keys import Keys
from agentring.cluster.known_agents import KnownAgents
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import RouterStopping
from agentring.ids import NodeId
from agentring.process.access import credentials_of, open_access
from agentring.process.collector import settle_collector
from agentring.process.descriptors import RESERVE, connection_capacity, raise_limit
from agentring.process.self_check import Fault, SelfCheck, all_of
from agentring.rpc import metrics
from agentring.rpc.access import RelayedAccess
from agentring.rpc.probe import Probe, Tls, probe
from agentring.rpc.server import Server
from agentring.v1 import blob_pb2, cluster_pb2, halt_pb2, once_pb2, session_pb2, task_pb2
from router.metrics import RouterMetrics
from router.relay.access import RelayAccess
from router.relay.node_pool import NodeTls
from router.relay.relay import Relay
from router.routing.epochs import Epochs
from router.routing.owner import OwnerLookup, Target
from router.routing.ring_view import RingView
from router.services.access_head import keep_at_a_node
from router.services.cluster import ClusterService
from router.services.halts import HaltService
from router.services.own_socket import own_socket
from router.settings import RouterSettings

_STOP_S = 10.0
"""How long a router that does not serve may take to stop, beyond its grace."""

_log = structlog.get_logger()

_NODE_SERVICES = (
    session_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
    task_pb2.DESCRIPTOR.services_by_name["TaskService"].full_name,
    once_pb2.DESCRIPTOR.services_by_name["OnceService"].full_name,
    blob_pb2.DESCRIPTOR.services_by_name["BlobService"].full_name,
)


async def run_router(settings: RouterSettings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serves until `stop` is set. `ready` is called with the address once clients are served.

    Raises CannotServe where it found that it does not serve any more, and CannotListen, EtcdError, OSError.
    """
    clock, keys = BootClock(), Keys(settings.cluster)
    name = f"{ROUTER_SUBJECT}{secrets.token_hex(4)}"
    access = open_access(settings.auth, settings.cluster_secret_file, settings.cluster, name)
    capacity = connection_capacity(raise_limit(settings.max_connections + RESERVE))
    if capacity < settings.max_connections:
        _log.warning("max_connections_lowered", max_connections=capacity, wanted=settings.max_connections)
    with ExitStack() as stack:
        socket_path = stack.enter_context(own_socket())
        async with connected(
            settings.etcd, settings.etcd_tls(), settings.etcd_login(), settings.etcd_timeout_s
        ) as etcd:
            membership = Membership(etcd, keys, clock)
            await membership.history.begin()
            board = ConditionBoard()
            view = RingView(membership, clock)
            known_agents = KnownAgents(etcd, keys, clock)

            async def report_nodes(snapshot: MembershipSnapshot) -> None:
                board.report_nodes(any(node.active for node in snapshot.nodes.values()))
                known_agents.see(snapshot)

            view.on_change(report_nodes)
            lookup = OwnerLookup(view, settings.owner_cache_size, missing=known_agents.missing)
            own_address = f"unix:{socket_path}"
            signer = access.signer if access is not None else None
            access_log = open_process_log(
                settings,
                f"router/{settings.listen}",
                keep_at_a_node(view, settings.node_credentials, signer),
                clock.sleep,
                stack,
            )
            own_services = Server(
                own_address,
                {
                    cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"]: ClusterService(
                        view, lookup, membership, etcd, keys, settings.node_credentials, signer
                    ),
                    halt_pb2.DESCRIPTOR.services_by_name["HaltService"]: HaltService(
                        membership, etcd, keys, settings.node_credentials, signer
                    ),
                },
                first_frame_timeout_s=settings.first_frame_timeout_s,
                reflected=_NODE_SERVICES,
                name="router",
                stopping=RouterStopping(),
                recorder=RecordedCalls(access_log.log, is_relayed=True) if access_log is not None else None,
                access=RelayedAccess() if access is not None else None,
            )
            board.on_change(
                lambda: own_services.set_condition(
                    board.condition.serves, board.trouble is None, sessions=board.serves_sessions
                )
            )
            relay = Relay(
                settings.listen,
                lookup,
                view,
                Target(NodeId("router"), own_address),
                Epochs(settings.owner_cache_size),
                settings.limits(),
                settings.node_limits(),
                shared_port=settings.shared_port,
                max_connections=min(capacity, settings.max_connections),
                max_buffered_bytes=settings.max_buffered_bytes,
                connect_timeout_s=settings.connect_timeout_s,
                client_tls=settings.server_tls(),
                node_tls=NodeTls(node_tls, settings.cluster) if (node_tls := settings.node_tls()) is not None else None,
                recorder=RelayedCalls(access_log.log) if access_log is not None else None,
                access=RelayAccess(access.control, access.signer, uses_tls=settings.node_ca is not None)
                if access is not None
                else None,
            )
            if settings.metrics_listen is not None:
                metrics.serve(
                    RouterMetrics(relay, view, board, access_log, credentials_of(access)),
                    settings.metrics_listen,
                    settings.metrics_tls(),
                )
            await own_services.start()
            fault = Fault()
            try:
                async with asyncio.TaskGroup() as group:
                    ends = [
                        group.create_task(_report_end(own_services.ended, "the router's own services", fault)),
                        group.create_task(_report_end(relay.ended, "the relay", fault)),
                    ]
                    background = [
                        group.create_task(membership.run()),
                        group.create_task(view.run()),
                        group.create_task(known_agents.run()),
                        group.create_task(CoordinatorProbe(etcd, keys, clock, board).run()),
                    ]
                    if access is not None:
                        background.append(group.create_task(access.credentials.run()))
                    with suppress(EtcdError):  # it is asked again
                        await known_agents.refresh()
                    await _synced(view, settings.sync_timeout_s)
                    await relay.start()
                    board.enter(Condition.SERVING)
                    settle_collector()
                    self_check = SelfCheck(
                        _probe(relay, own_address, settings),
                        fault,
                        interval_s=settings.self_check_s,
                        patience_s=settings.self_check_patience_s,
                        grace_s=settings.stop_grace_s + _STOP_S,
                    )
                    with self_check:
                        await self_check.first()
                        ready(relay.address)
                        await _first_of(group, stop, fault.found)
                    for task in ends:
                        task.cancel()
                    board.enter(Condition.DRAINING)
                    await relay.stop(settings.stop_grace_s)
                    for task in background:
                        task.cancel()
            finally:
                await own_services.stop(0)
                if access_log is not None:
                    await access_log.close()
            fault.check()


def _probe(relay: Relay, own_address: str, settings: RouterSettings) -> Probe:
    """What the router asks itself. Where several share the port, another one of them might answer there."""
    if settings.shared_port:
        return all_of(relay.check_listening, partial(probe, own_address, Tls.NONE))
    return partial(probe, relay.address, settings.self_check_tls())


async def _report_end(ended: asyncio.Future[None], what: str, fault: Fault) -> None:
    await asyncio.shield(ended)
    fault.report(f"{what} ended")


async def _first_of(group: asyncio.TaskGroup, *events: asyncio.Event) -> None:
    waits = [group.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _synced(view: RingView, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await view.synced.wait()
    except TimeoutError:
        raise EtcdUnavailable from None
