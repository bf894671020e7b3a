"""A cluster that asks who calls: through a router, straight at a node, and what agents see of it."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc import aio

from agentring.client import connect
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, node_pb2, node_pb2_grpc, session_pb2, session_pb2_grpc
from harness.api_keys import Keys, bearer
from harness.client import turn
from harness.cluster import Cluster


async def refused(call: grpc.aio.Call) -> grpc.StatusCode:
    """The status of a call, of one answer or of several."""
    try:
        if isinstance(call, aio.UnaryUnaryCall):
            await call
        else:
            while await call.read() is not aio.EOF:  # type: ignore[attr-defined]
                pass
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


async def test_a_cluster_is_used_by_who_may_and_by_nobody_else(
    make_cluster: Callable[..., Cluster], keys: Keys
) -> None:
    cluster = make_cluster(
        nodes=2, flags=keys.flags, router_flags=keys.flags, metadata=bearer(keys.olga), lease_ttl_s=10
    )
    async with connect(cluster.router, credentials=lambda: keys.ada) as ring:
        for number in range(8):  # sessions of both nodes
            ended = await ring.session(f"s{number}", agent="echo").run("hi")
            assert ended.text == "hi"
        listed = [each.session_id async for each in ring.list_sessions()]
    assert len(listed) == 8
    get, drain = session_pb2.GetSessionRequest(session_id="s1"), cluster_pb2.DrainNodeRequest(node_id="n1", force=True)
    run = session_pb2.RunTurnRequest(session_id="s1", turn=turn("hi"))
    for address in (cluster.router, *(node.address for node in cluster.nodes.values())):
        async with aio.insecure_channel(address) as channel:
            sessions = session_pb2_grpc.SessionServiceStub(channel)
            inside = node_pb2_grpc.NodeServiceStub(channel)
            for said, status in (
                ((), grpc.StatusCode.UNAUTHENTICATED),
                ((("x-tenant-id", "acme"),), grpc.StatusCode.UNAUTHENTICATED),
                (bearer(keys.ada[:-1] + "x"), grpc.StatusCode.UNAUTHENTICATED),
                ((*bearer(keys.eve), ("x-tenant-id", "acme")), grpc.StatusCode.PERMISSION_DENIED),
                (bearer(keys.eve), grpc.StatusCode.NOT_FOUND),
            ):
                assert await refused(sessions.GetSession(get, metadata=said)) is status
            assert await refused(sessions.RunTurn(run, metadata=bearer(keys.vera))) is grpc.StatusCode.PERMISSION_DENIED
            for key in (keys.ada, keys.olga):
                called = inside.Drain(node_pb2.DrainRequest(force=True), metadata=bearer(key))
                assert await refused(called) in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)
    async with aio.insecure_channel(cluster.router) as channel:
        stub, sessions = cluster_pb2_grpc.ClusterServiceStub(channel), session_pb2_grpc.SessionServiceStub(channel)
        assert await refused(stub.DrainNode(drain, metadata=bearer(keys.ada))) is grpc.StatusCode.PERMISSION_DENIED
        located = await stub.LocateSession(
            cluster_pb2.LocateSessionRequest(session_id="s1", tenant_id="acme"), metadata=bearer(keys.olga)
        )
        assert (located.agent, located.node_id in cluster.nodes) == ("echo", True)
        assert await refused(stub.DrainNode(drain, metadata=bearer(keys.olga))) is grpc.StatusCode.OK
        watched = sessions.WatchSession(
            session_pb2.WatchSessionRequest(session_id="s1", after_seq=0), metadata=bearer(keys.vera), timeout=30
        )
        await watched.read()
        keys.revoke("vera")
        assert await refused(watched) is grpc.StatusCode.UNAUTHENTICATED
