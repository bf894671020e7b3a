"""What a session's next owner finds: its state, its turns and their outcomes, and the turn that was cut off."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from agentring.rpc.status import read_error
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.agents import FLAGS
from harness.client import Received, connect, error_of, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster, Member
from harness.postgres import PostgresProcess
from harness.streams import merged, watch


@pytest.fixture(params=["sqlite", "postgresql"])
def durable(request: pytest.FixtureRequest, make_cluster: Callable[..., Cluster]) -> Cluster:
    """Two nodes on each durable store."""
    flags: tuple[str, ...] = FLAGS
    if request.param == "postgresql":
        postgres: PostgresProcess = request.getfixturevalue("postgres")
        flags = (*FLAGS, f"--store={postgres.database()}")
    return make_cluster(nodes=2, flags=flags)


async def retried(channel: grpc.aio.Channel, sent: session_pb2.Turn, agent: str) -> Received:
    """Tries the turn until the session has moved."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await run_turn(channel, "s", sent, agent=agent)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017  any other fails at once
                await asyncio.sleep(0.05)


async def until_cut(call: Any, node: Member) -> list[session_pb2.Event]:
    """What a turn tells in the run that its node's end cuts off; the stream goes on elsewhere, unread."""
    seen: list[session_pb2.Event] = []
    async for response in call:
        seen.extend(response.events)
        if sum(event.HasField("text_delta") for event in seen) == 3:
            node.process.stop(signal.SIGKILL)
            break
    return seen


async def test_a_killed_nodes_session_goes_on_with_its_state_and_its_outcomes(durable: Cluster) -> None:
    async with connect(durable.router) as channel:
        turns = [turn("count") for _ in range(3)]
        before = [await run_turn(channel, "s", sent, agent="faulty") for sent in turns[:2]]
        durable.nodes[before[0].node].process.stop(signal.SIGKILL)
        after = await retried(channel, turns[2], "faulty")
        assert after.result == {"turns": 3}
        assert after.node != before[0].node
        assert after.epoch > before[1].epoch
        head_seq = before[1].events[-1].seq
        assert min(event.seq for event in after.events) > head_seq

        replayed = await run_turn(channel, "s", turns[0], agent="faulty")
        assert merged(replayed.events) == merged(before[0].events)
        other = session_pb2.Turn(turn_id=turns[0].turn_id, input=session_pb2.Input(text="another"))
        request = session_pb2.RunTurnRequest(session_id="s", agent="faulty", turn=other)
        report = await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))
        assert (report.code, report.reason) == (grpc.StatusCode.ALREADY_EXISTS, "TURN_ID_REUSED")


async def test_a_turn_that_was_cut_off_runs_again_as_another_attempt(durable: Cluster) -> None:
    sent, waiting = turn(tokens=30, rate=30), turn("waits")
    async with connect(durable.router) as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        cut = stub.RunTurn(session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=sent), timeout=20)
        node = str(dict(await cut.initial_metadata())["x-agentring-node"])
        queued = session_pb2.SubmitTurnRequest(session_id="s", agent="echo", turn=waiting)
        assert (await stub.SubmitTurn(queued, timeout=10)).state == session_pb2.TURN_STATE_ACCEPTED
        seen = await until_cut(cut, durable.nodes[node])

        received = await retried(channel, sent, "echo")
        (restarted,) = (event for event in received.events if event.HasField("attempt_restarted"))
        assert (restarted.turn_id, restarted.attempt) == (sent.turn_id, 2)
        assert restarted.attempt_restarted.reason == "NODE_LOST"
        assert restarted.first_seq <= seen[0].seq
        assert restarted.seq > seen[-1].seq
        assert {event.attempt for event in received.events} == {2}
        assert received.result == {"tokens": 30}
        assert len(received.text.split()) == 30
        last = await run_turn(channel, "s", waiting)
        assert last.kinds[-1] == "turn_completed"
        assert last.text == "waits"
        assert {event.attempt for event in last.events if event.turn_id == waiting.turn_id} == {1}
    committed = [(line["turn"], line["commit"]) for line in durable.audit("turn_committed")]
    assert [turn_id for turn_id, _ in committed] == [sent.turn_id, waiting.turn_id]
    assert committed[0][1] < committed[1][1]


async def test_a_drained_nodes_session_is_told_no_gap_and_its_cut_turn_runs_again(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, flags=("--drain-timeout-s=0.3",))
    async with connect(cluster.router) as channel:
        first = await run_turn(channel, "s", turn("hi"))
        running = asyncio.create_task(run_turn(channel, "s", turn(tokens=20, rate=20)))
        await cluster.until_audited("turn_started", 2)
        cluster.nodes[first.node].process.send(signal.SIGTERM)
        received = await running
    (restarted,) = (event for event in received.events if event.HasField("attempt_restarted"))
    assert restarted.attempt_restarted.reason == "NODE_DRAINED"
    before = received.events[received.events.index(restarted) - 1]
    assert before.seq > first.events[-1].seq
    assert (restarted.first_seq or restarted.seq) == before.seq + 1  # each number once
    assert received.result == {"tokens": 20}


async def test_an_idle_session_is_passivated_and_activated_by_the_next_call(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, flags=(*FLAGS, "--idle-timeout-s=0.2"))
    async with connect(cluster.router) as channel:
        first = await run_turn(channel, "s", turn("count"), agent="faulty")
        await cluster.until_audited("passivated", 1)
        stub = session_pb2_grpc.SessionServiceStub(channel)
        known = (await stub.GetSession(session_pb2.GetSessionRequest(session_id="s"), timeout=10)).session
        assert (known.agent, known.node_id, known.turns_completed) == ("faulty", "", 1)
        assert (known.oldest_seq, known.head_seq) == (1, first.events[-1].seq)
        assert len(cluster.audit("activated")) == 1
        again = watch(channel, "s")
        await again.until_seq(known.head_seq)
        again.call.cancel()
        assert merged(again.events) == merged(first.events)
        second = await run_turn(channel, "s", turn("count"), agent="faulty")
    assert second.result == {"turns": 2}
    assert second.epoch > first.epoch
    assert second.events[0].seq == first.events[-1].seq + 1


async def test_a_closed_session_stays_closed_though_its_node_dies(durable: Cluster) -> None:
    async with connect(durable.router) as channel:
        received = await run_turn(channel, "s", turn("hi"))
        stub = session_pb2_grpc.SessionServiceStub(channel)
        await stub.CloseSession(session_pb2.CloseSessionRequest(session_id="s"), timeout=10)
        durable.nodes[received.node].process.stop(signal.SIGKILL)
        request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=turn("hi"))
        async with asyncio.timeout(20):
            while (report := await error_of(stub.RunTurn(request, timeout=10))).reason != "SESSION_CLOSED":
                assert report.code is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.05)
        known = (await stub.GetSession(session_pb2.GetSessionRequest(session_id="s"), timeout=10)).session
        assert known.closed


async def test_another_clusters_store_is_refused(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    owner, stranger = make_cluster(nodes=1), make_cluster(nodes=1)
    store = f"--store=sqlite:///{owner.directory / 'store.db'}"
    refused = stranger.spawn_node("n2", store)
    assert refused.wait() == 1
    assert "belongs to another cluster" in refused.log.read_text()
    refused.stop()
    async with connect(owner.router) as channel:
        assert (await run_turn_until_answered(channel, "s", turn("hi"), 5)).text == "hi"


async def test_a_full_node_passivates_the_session_that_was_idle_longest_to_make_room(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, flags=(*FLAGS, "--max-sessions=2"))
    async with connect(cluster.router) as channel:
        assert (await run_turn(channel, "watched", turn("count"), agent="faulty")).result == {"turns": 1}
        watched = watch(channel, "watched")  # is in use for as long as a stream is attached
        await watched.until_seq(1)
        for number, session_id in enumerate(("idle", "new", "idle")):
            received = await once_there_is_room(channel, session_id)
            assert received.result == {"turns": 1 + number // 2}
        watched.call.cancel()
    assert [line["session"] for line in cluster.audit("passivated")] == ["idle", "new"]


async def once_there_is_room(channel: grpc.aio.Channel, session_id: str) -> Received:
    """Runs a turn as soon as the node takes its session: those that were used a moment ago are not given up."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await run_turn(channel, session_id, turn("count"), agent="faulty")
            except grpc.RpcError as error:
                report = read_error(error)
                assert (report.reason, report.retry_after_s) == ("NODE_OVERLOADED", 1.0)
                await asyncio.sleep(0.1)
