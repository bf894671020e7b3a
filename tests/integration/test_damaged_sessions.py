"""What the store has of a session cannot be read: that session says so, and no other is touched."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from agentring.errors import SessionClosed, SessionCorrupt
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.agents import FLAGS
from harness.client import connect, error_of, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster
from harness.raw import assert_refused

SET_STATE = "UPDATE states SET state_json = ? WHERE session_id = 'damaged'"


def change(store: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        assert database.execute(statement, values).rowcount == 1


def state_of(store: Path, session_id: str) -> str:
    with closing(sqlite3.connect(store)) as database:
        (state,) = database.execute("SELECT state_json FROM states WHERE session_id = ?", (session_id,)).fetchone()
        return str(state)


async def moved(cluster: Cluster, store: Path, statement: str, *values: str) -> None:
    """All sessions leave their node; what is stored is changed; another node is there for them."""
    (old,) = cluster.nodes
    await asyncio.to_thread(cluster.nodes.pop(old).process.stop)
    await asyncio.to_thread(change, store, statement, *values)
    await asyncio.to_thread(cluster.start_node, f"{old}x", *FLAGS)


async def test_only_the_damaged_session_says_so_until_it_is_restored(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS)
    store = cluster.directory / "store.db"
    async with connect(cluster.router) as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        for name in ("damaged", "whole"):
            assert (await run_turn(channel, name, turn("count"), agent="faulty")).result == {"turns": 1}
        state = state_of(store, "damaged")
        await moved(cluster, store, SET_STATE, state.replace("1", "9"))
        whole = await run_turn_until_answered(channel, "whole", turn("count"), agent="faulty", within_s=20)
        assert whole.result == {"turns": 2}
        request = session_pb2.RunTurnRequest(session_id="damaged", agent="faulty", turn=turn("count"))
        await assert_refused(stub.RunTurn(request, timeout=10), SessionCorrupt())
        watched = session_pb2.WatchSessionRequest(session_id="damaged")
        await assert_refused(stub.WatchSession(watched, timeout=10), SessionCorrupt())
        assert (await run_turn(channel, "whole", turn("count"), agent="faulty")).result == {"turns": 3}
        await moved(cluster, store, SET_STATE, state)
        restored = await run_turn_until_answered(channel, "damaged", turn("count"), agent="faulty", within_s=20)
        assert restored.result == {"turns": 2}


async def test_a_damaged_session_can_be_closed(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS)
    store = cluster.directory / "store.db"
    async with connect(cluster.router) as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        await run_turn(channel, "damaged", turn("count"), agent="faulty")
        await moved(cluster, store, SET_STATE, "nonsense")
        await run_turn_until_answered(channel, "other", turn("count"), agent="faulty", within_s=20)
        described = session_pb2.GetSessionRequest(session_id="damaged")
        assert (await error_of(stub.GetSession(described, timeout=10))).reason == SessionCorrupt.reason
        for _ in range(2):
            await stub.CloseSession(session_pb2.CloseSessionRequest(session_id="damaged"), timeout=10)
            assert (await stub.GetSession(described, timeout=10)).session.closed
        request = session_pb2.RunTurnRequest(session_id="damaged", agent="faulty", turn=turn("count"))
        await assert_refused(stub.RunTurn(request, timeout=10), SessionClosed())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE turns SET outcome = x'ff' WHERE session_id = 's' AND number = 1",
        "UPDATE turns SET output_text = NULL, input = x'ff' WHERE session_id = 's' AND number = 1",
    ],
)
async def test_turns_that_cannot_be_read_damage_their_session(
    make_cluster: Callable[..., Cluster], statement: str
) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS)
    async with connect(cluster.router) as channel:
        await run_turn(channel, "s", turn("count"), agent="faulty")
        await moved(cluster, cluster.directory / "store.db", statement)
        async with asyncio.timeout(20):
            while True:
                request = session_pb2.RunTurnRequest(session_id="s", agent="faulty", turn=turn("count"))
                call = session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10)
                if await call.code() is not grpc.StatusCode.UNAVAILABLE:  # the router has yet to hear of the node
                    break
        await assert_refused(call, SessionCorrupt())
