"""The path between a router and a node that lives goes dark: packets vanish, and nobody is told."""

import asyncio
from collections.abc import Callable

from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect, error_of, run_turn, turn
from harness.cluster import Cluster, until_sees
from harness.swallowing import Path, path

ROUTER = ("--node-keepalive-s=0.5", "--keepalive-timeout-s=0.5", "--connect-timeout-s=0.5", "--reattach-timeout-s=2")
SESSIONS = 12


def _behind(make_cluster: Callable[..., Cluster], dark: Path) -> Cluster:
    """n1 as it is, n2 behind the path."""
    cluster = make_cluster(nodes=1, router_flags=ROUTER)
    dark.target = cluster.start_node("n2", f"--advertise={dark.address}").address
    until_sees(cluster.router, 2)
    return cluster


async def _owned_by_n2(cluster: Cluster) -> str:
    """A session of n2's."""
    async with connect(cluster.router) as channel:
        for number in range(50):
            if (await run_turn(channel, f"s{number}", turn("hello"))).node == "n2":
                return f"s{number}"
    raise AssertionError("no session came to n2")


async def test_turns_go_on_with_the_same_node_on_another_connection(make_cluster: Callable[..., Cluster]) -> None:
    async with path() as dark:
        cluster = _behind(make_cluster, dark)
        owned = await _owned_by_n2(cluster)
        async with connect(cluster.router) as channel, asyncio.TaskGroup() as group:
            runs = [
                group.create_task(run_turn(channel, name, turn("again", tokens=80, rate=20)))
                for name in (owned, *(f"t{number}" for number in range(SESSIONS)))
            ]
            await asyncio.sleep(1)  # so that they are in the middle
            dark.darken(new=False)
        for received in [run.result() for run in runs]:
            seqs = [event.seq for event in received.events]
            assert seqs == sorted(set(seqs))
            assert received.events[-1].HasField("turn_completed"), received.kinds
            assert received.text == "again " * 80
            assert {event.attempt for event in received.events if event.turn_id} == {1}
        assert {run.result().node for run in runs} == {"n1", "n2"}
        assert dark.connections >= 2


async def test_an_owner_behind_a_dark_path_is_called_unreachable(make_cluster: Callable[..., Cluster]) -> None:
    """It is not moving anywhere, and once the path is there again it goes on."""
    async with path() as dark:
        cluster = _behind(make_cluster, dark)
        owned = await _owned_by_n2(cluster)
        async with connect(cluster.router) as channel:
            stub = session_pb2_grpc.SessionServiceStub(channel)
            running = stub.RunTurn(
                session_pb2.RunTurnRequest(session_id=owned, turn=turn("x", tokens=400, rate=20)), timeout=30
            )
            async for response in running:
                if any(event.HasField("text_delta") for event in response.events):
                    break
            dark.darken(new=True)
            report = await error_of(running)
            assert (report.code.name, report.reason) == ("UNAVAILABLE", "OWNER_UNREACHABLE"), report
            fresh = await error_of(
                stub.RunTurn(session_pb2.RunTurnRequest(session_id=owned, turn=turn("y")), timeout=30)
            )
            assert fresh.reason == "OWNER_UNREACHABLE", fresh
            unary = await error_of(stub.GetSession(session_pb2.GetSessionRequest(session_id=owned), timeout=30))
            assert unary.reason == "OWNER_UNREACHABLE", unary
            dark.light()
            await stub.CancelTurn(
                session_pb2.CancelTurnRequest(session_id=owned, turn_id=response.events[0].turn_id), timeout=30
            )
            assert (await run_turn(channel, owned, turn("back"))).node == "n2"
