"""The last node of an agent goes and comes: that is waited for, or told, never as an agent that is not there."""

import asyncio
import signal
from collections.abc import Callable

import grpc
import pytest
from grpc import aio

from agentring.client import connect as connect_client
from agentring.rpc.status import ErrorReport
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from harness.client import connect, error_of, run_task, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster, until_sees

RARE = "--agent=rare=agent_node.agents.echo:echo"


async def submitted(channel: aio.Channel, session: str, agent: str) -> ErrorReport:
    """Of a call that waits for nothing."""
    request = session_pb2.SubmitTurnRequest(session_id=session, agent=agent, turn=turn("hi"))
    return await error_of(session_pb2_grpc.SessionServiceStub(channel).SubmitTurn(request, timeout=10))


@pytest.mark.parametrize("others", [0, 1])
async def test_a_restart_of_the_only_node_of_an_agent_is_waited_for(
    make_cluster: Callable[..., Cluster], others: int
) -> None:
    """others: nodes that do not host it."""
    cluster = make_cluster(nodes=others)
    await asyncio.to_thread(cluster.start_node, "rare", RARE)
    until_sees(cluster.router, others + 1)
    async with connect(cluster.router) as channel:
        before = await run_turn(channel, "s", turn("hi"), agent="rare")
        assert before.node == "rare"
        await asyncio.to_thread(cluster.nodes["rare"].process.stop, signal.SIGTERM)
        await _until_gone(channel)
        reports = [await submitted(channel, *what) for what in (("s", "rare"), ("new", "rare"), ("s", ""))]
        if others:
            for report in reports:
                assert (report.code, report.reason) == (grpc.StatusCode.UNAVAILABLE, "AGENT_UNAVAILABLE")
                assert report.variables == {"agent": "rare"}
        for report in reports:
            assert report.code is grpc.StatusCode.UNAVAILABLE
            assert report.retry_after_s == 1.0
        if others:
            report = await submitted(channel, "s", "never")
            assert (report.code, report.reason) == (grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND")
            task = task_pb2.GetTaskRequest(task_key="k")
            report = await error_of(task_pb2_grpc.TaskServiceStub(channel).GetTask(task, timeout=5))
            assert report.reason == "TASK_NOT_FOUND"
            # Streams wait for it, as they do for a session that moves.
            waiting = [
                asyncio.create_task(run_turn(channel, "s", turn("hi"), agent="rare")),
                asyncio.create_task(run_turn(channel, "fresh", turn("hi"), agent="rare")),
                asyncio.create_task(run_task(channel, "t", agent="rare", text="hi")),
            ]
            await asyncio.sleep(0.3)
            assert not any(task.done() for task in waiting)
            await asyncio.to_thread(cluster.start_node, "rare", RARE)
            received = await asyncio.gather(*waiting)
            assert [each.node for each in received] == ["rare"] * 3
        else:
            await asyncio.to_thread(cluster.start_node, "rare", RARE)
        after = await run_turn_until_answered(channel, "s", turn("hi"), 10, agent="rare")
        assert after.epoch > before.epoch


async def test_a_router_that_is_started_anew_and_the_nodes_themselves_know_the_agent_too(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1)
    await asyncio.to_thread(cluster.start_node, "rare", RARE)
    until_sees(cluster.router, 2)
    async with connect(cluster.router) as channel:
        await run_turn(channel, "s", turn("hi"), agent="rare")
        await asyncio.to_thread(cluster.nodes["rare"].process.stop, signal.SIGTERM)
        await _until_gone(channel)
    fresh = await asyncio.to_thread(cluster.start_router, "fresh")
    for address in (fresh.address, cluster.nodes["n1"].address):
        async with connect(address) as channel:
            for session, agent in (("s", "rare"), ("s", ""), ("new", "rare")):
                assert (await submitted(channel, session, agent)).reason == "AGENT_UNAVAILABLE", (address, session)
            assert (await submitted(channel, "new", "never")).reason == "AGENT_NOT_FOUND"


async def test_the_client_waits_for_the_agent_and_locate_says_what_is_missing(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1)
    await asyncio.to_thread(cluster.start_node, "rare", RARE)
    until_sees(cluster.router, 2)
    async with connect(cluster.router) as channel, connect_client(cluster.router) as ring:
        session = ring.session("s", agent="rare")
        await session.run("hi")
        stub = cluster_pb2_grpc.ClusterServiceStub(channel)
        locate = cluster_pb2.LocateSessionRequest(session_id="s")
        found = await stub.LocateSession(locate, timeout=5)
        assert (found.node_id, found.agent) == ("rare", "rare")
        assert {each.node_id: each.accepted for each in found.candidates} == {"rare": True, "n1": False}
        await asyncio.to_thread(cluster.nodes["rare"].process.stop, signal.SIGTERM)
        await _until_gone(channel)
        found = await stub.LocateSession(locate, timeout=5)
        assert (found.node_id, found.agent) == ("", "rare")
        assert [(each.node_id, each.accepted, each.reason) for each in found.candidates] == [
            ("n1", False, "does not host rare")
        ]
        assert found.why == "nobody holds the claim, and no node would take it: none hosts rare"
        running = asyncio.create_task(session.run("hi"))
        await asyncio.sleep(0.3)
        assert not running.done()
        await asyncio.to_thread(cluster.start_node, "rare", RARE)
        async with asyncio.timeout(20):
            await running


async def _until_gone(channel: aio.Channel) -> None:
    """Returns once the router does not see the node any more."""
    stub = cluster_pb2_grpc.ClusterServiceStub(channel)
    async with asyncio.timeout(20):
        async for seen in stub.WatchCluster(cluster_pb2.WatchClusterRequest()):
            if all(node.node_id != "rare" for node in seen.nodes):
                break
        while "rare" in {node.node_id for node in (await stub.ListNodes(cluster_pb2.ListNodesRequest())).nodes}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
