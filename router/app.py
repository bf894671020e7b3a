"""A router, from start to stop.

Start: 1. read the cluster's meta record; 2. serve its own services on a unix socket; 3. watch the membership and build
the first ring; 4. listen for clients; 5. healthy. Stop is the reverse.
"""

import asyncio
import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from agentring.cluster.clock import BootClock
from agentring.cluster.condition import Condition, ConditionBoard
from agentring.cluster.coordinator import CoordinatorProbe
from agentring.cluster.etcd import EtcdClient
from agentring.cluster.etcd_errors import EtcdUnavailable
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.errors import RouterStopping
from agentring.ids import NodeId
from agentring.rpc import metrics
from agentring.rpc.server import Server
from agentring.v1 import cluster_pb2, once_pb2, session_pb2, task_pb2
from router.epochs import Epochs
from router.http2.relay import Http2Relay
from router.metrics import RouterMetrics
from router.owner import OwnerLookup, Target
from router.ring_view import RingView
from router.services.cluster import ClusterService
from router.settings import RouterSettings

_log = structlog.get_logger()

_NODE_SERVICES = (
    session_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
    task_pb2.DESCRIPTOR.services_by_name["TaskService"].full_name,
    once_pb2.DESCRIPTOR.services_by_name["OnceService"].full_name,
)


async def run_router(settings: RouterSettings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serves until `stop` is set. `ready` is called with the address once clients are served.

    Raises CannotListen, EtcdError, OSError.
    """
    clock, keys = BootClock(), Keys(settings.cluster)
    with tempfile.TemporaryDirectory(prefix="agentring-router-") as socket_dir:
        async with EtcdClient(settings.etcd, tls=settings.etcd_tls(), timeout_s=settings.etcd_timeout_s) as etcd:
            membership = Membership(etcd, keys, clock)
            await membership.history.begin()
            board = ConditionBoard()
            view = RingView(membership, clock)
            lookup = OwnerLookup(view, settings.owner_cache_size)
            own_address = f"unix:{Path(socket_dir) / 'services.sock'}"
            own_services = Server(
                own_address,
                {
                    cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"]: ClusterService(
                        view, lookup, membership, etcd, keys, settings.node_credentials()
                    )
                },
                first_frame_timeout_s=settings.first_frame_timeout_s,
                reflected=_NODE_SERVICES,
                name="router",
                stopping=RouterStopping(),
            )
            board.on_change(lambda: own_services.set_condition(board.condition.serves, board.trouble is None))
            relay = Http2Relay(
                settings.listen,
                lookup,
                view,
                Target(NodeId("router"), own_address),
                Epochs(settings.owner_cache_size),
                settings.limits(),
                settings.node_limits(),
                shared_port=settings.shared_port,
                max_connections=settings.max_connections,
                max_buffered_bytes=settings.max_buffered_bytes,
                connect_timeout_s=settings.connect_timeout_s,
                client_tls=settings.server_tls(),
                node_tls=settings.node_tls(),
            )
            if settings.metrics_listen is not None:
                metrics.serve(RouterMetrics(relay, view, board), settings.metrics_listen)
            await own_services.start()
            try:
                async with asyncio.TaskGroup() as group:
                    background = [
                        group.create_task(membership.run()),
                        group.create_task(view.run()),
                        group.create_task(CoordinatorProbe(etcd, keys, clock, board).run()),
                    ]
                    await _synced(view, settings.sync_timeout_s)
                    await relay.start()
                    board.enter(Condition.SERVING)
                    # What is there by now stays: the collector need not look at it again and again, between calls.
                    gc.collect()
                    gc.freeze()
                    ready(relay.address)
                    await stop.wait()
                    board.enter(Condition.DRAINING)
                    await relay.stop(settings.stop_grace_s)
                    for task in background:
                        task.cancel()
            finally:
                await own_services.stop(0)


async def _synced(view: RingView, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await view.synced.wait()
    except TimeoutError:
        raise EtcdUnavailable from None
