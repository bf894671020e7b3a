"""What happens to sessions when their node dies, stops, freezes, or loses etcd."""

import asyncio
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import grpc
import pytest

from agentring.rpc.status import ErrorReport, read_error
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import Received, connect, error_of, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster
from harness.etcd import EtcdProcess

SESSIONS = 30


async def test_a_killed_nodes_sessions_answer_on_another_node_within_ttl_and_a_second(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=3)
    async with connect(cluster.router) as channel:
        before = {name: await run_turn(channel, name, turn("hi")) for name in (f"s{i}" for i in range(SESSIONS))}
        victim = before["s0"].node
        orphans = [name for name, received in before.items() if received.node == victim]
        assert orphans

        killed_at_s = time.monotonic()
        cluster.nodes[victim].process.stop(signal.SIGKILL)
        new = await run_turn(channel, "made-meanwhile", turn("hi"))
        assert new.node != victim

        async def answered(name: str) -> tuple[Received, float]:
            received = await run_turn_until_answered(channel, name, turn("hi again"), cluster.lease_ttl_s + 5)
            return received, time.monotonic() - killed_at_s

        after = dict(zip(orphans, await asyncio.gather(*(answered(name) for name in orphans)), strict=True))
        others = {name: await run_turn(channel, name, turn("hi")) for name in before.keys() - set(orphans)}

    for name, (received, took_s) in after.items():
        assert received.node != victim, name
        assert received.epoch > before[name].epoch, name
        assert received.text == "hi again"
        assert took_s < cluster.lease_ttl_s + 1, (name, took_s)
    for name, received in others.items():
        assert (received.node, received.epoch) == (before[name].node, before[name].epoch), name


async def test_a_stopping_node_ends_its_turns_and_hands_over(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2)
    async with connect(cluster.router) as channel:
        first = await run_turn(channel, "s", turn("hi"))
        running = asyncio.create_task(run_turn(channel, "s", turn(tokens=20, rate=20)))
        await cluster.until_audited("turn_started", 2)
        process = cluster.nodes[first.node].process
        process.send(signal.SIGTERM)
        received = await running
        assert received.result == {"tokens": 20}
        ended_at_s = time.monotonic()
        second = await run_turn_until_answered(channel, "s", turn("hi"), 5)
        took_s = time.monotonic() - ended_at_s
    assert second.node != first.node
    assert second.epoch > first.epoch
    assert took_s < 1, took_s
    assert process.wait() == 0
    assert [line["node"] for line in cluster.audit("drain_done")] == [first.node]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_stream_outlives_its_node(make_cluster: Callable[..., Cluster], how: signal.Signals) -> None:
    """Idle or in a turn: the next owner goes on with it, and the turn that was cut is told anew."""
    cluster = make_cluster(nodes=2, flags=("--drain-timeout-s=0.5",))
    async with connect(cluster.router) as channel:
        call = session_pb2_grpc.SessionServiceStub(channel).Converse(timeout=30)
        await call.write(session_pb2.ConverseRequest(open=session_pb2.Open(session_id="s", agent="echo")))
        opened = await _opened(call)
        await call.write(session_pb2.ConverseRequest(turn=turn(turn_id="t1", tokens=40, rate=20)))
        seen = await _until(call, "text_delta")
        process = cluster.nodes[opened.node_id].process
        process.send(how)
        seen += await _until(call, "turn_completed")
        await call.write(session_pb2.ConverseRequest(turn=turn("again", turn_id="t2")))
        await call.done_writing()
        while isinstance(response := await call.read(), session_pb2.ConverseResponse):
            seen += response.events
    kinds = [event.WhichOneof("body") for event in seen]
    assert kinds.count("attempt_restarted") == 1
    assert "opened" not in kinds
    assert [event.turn_id for event in seen if event.HasField("turn_completed")] == ["t1", "t2"]
    numbers = [(event.first_seq or event.seq, event.seq) for event in seen if event.seq]
    assert all(first <= before + 1 <= last for (_, before), (first, last) in pairwise(numbers)), numbers
    restarted = kinds.index("attempt_restarted")
    text = "".join(e.text_delta.text for e in seen[restarted:] if e.turn_id == "t1" and e.HasField("text_delta"))
    assert text.split() == [f"token{index}" for index in range(40)]
    assert len({event.epoch for event in seen if event.seq}) == 2


async def test_without_another_node_a_stream_ends_with_an_error_to_try_again_after(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, router_flags=("--reattach-timeout-s=1",))
    async with connect(cluster.router) as channel:
        call = session_pb2_grpc.SessionServiceStub(channel).Converse(timeout=20)
        await call.write(session_pb2.ConverseRequest(open=session_pb2.Open(session_id="s", agent="echo")))
        opened = await _opened(call)
        cluster.nodes[opened.node_id].process.send(signal.SIGKILL)
        report = await _error_after_reading(call)
    assert report.code is grpc.StatusCode.UNAVAILABLE
    assert report.retry_after_s is not None


async def test_a_node_frozen_beyond_its_lease_drops_everything_and_joins_again(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2)
    async with connect(cluster.router) as channel:
        before = await run_turn(channel, "s", turn("hi"))
        frozen = cluster.nodes[before.node]
        frozen.process.send(signal.SIGSTOP)
        try:
            # Another node must take the session over while this one stands still.
            after = None
            deadline_s = time.monotonic() + cluster.lease_ttl_s + 3
            while after is None:
                assert time.monotonic() < deadline_s
                try:
                    async with asyncio.timeout(1):
                        after = await run_turn(channel, "s", turn("hi"))
                except (TimeoutError, grpc.RpcError):
                    await asyncio.sleep(0.05)
        finally:
            frozen.process.send(signal.SIGCONT)
        assert after.node != before.node
        assert after.epoch > before.epoch
        async with connect(frozen.address) as direct:
            received = await run_turn_redirected(direct)
        again = await run_turn(channel, "s", turn("hi"))
    assert received == after.node
    assert (again.node, again.epoch) == (after.node, after.epoch)
    assert [line["node"] for line in cluster.audit("fenced")] == [before.node]
    assert len([line for line in cluster.audit("joined") if line["node"] == before.node]) == 2


async def _opened(call: Any) -> session_pb2.Opened:
    response: session_pb2.ConverseResponse = await call.read()
    return response.events[0].opened


async def _until(call: Any, kind: str) -> list[session_pb2.Event]:
    """What is told until an event of this kind has come."""
    seen: list[session_pb2.Event] = []
    while not any(event.HasField(kind) for event in seen):  # type: ignore[arg-type]
        seen += (await call.read()).events
    return seen


async def _error_after_reading(call: Any) -> ErrorReport:
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.RpcError as error:
        return read_error(error)
    raise AssertionError("the stream ended with OK")


async def run_turn_redirected(direct: grpc.aio.Channel) -> str:
    """Asks the thawed node itself until it has joined again; where it sends us."""
    deadline_s = time.monotonic() + 10
    while True:
        request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=turn("hi"))
        report = await error_of(session_pb2_grpc.SessionServiceStub(direct).RunTurn(request, timeout=5))
        if report.reason == "NOT_OWNER":
            return report.variables["node"]
        assert report.reason in ("NODE_FENCED", "SESSION_MOVING"), report
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


async def test_an_unreachable_etcd_stops_claims_but_not_sessions_and_they_resume(
    own_etcd: EtcdProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster = Cluster(own_etcd.url, tmp_path_factory.mktemp("cluster"), lease_ttl_s=20)
    try:
        cluster.start(nodes=2)
        async with connect(cluster.router) as channel:
            before = await run_turn(channel, "s", turn("hi"))
            own_etcd.stop(signal.SIGKILL)
            during = await run_turn(channel, "s", turn("still here"))
            assert (during.node, during.epoch) == (before.node, before.epoch)
            request = session_pb2.RunTurnRequest(session_id="new", agent="echo", turn=turn("hi"))
            report = await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))
            assert (report.code, report.reason) == (grpc.StatusCode.UNAVAILABLE, "COORDINATOR_UNAVAILABLE")
            own_etcd.restart()
            await run_turn_until_answered(channel, "new", turn("hi"), 10)
            after = await run_turn(channel, "s", turn("hi"))
            assert (after.node, after.epoch) == (before.node, before.epoch)
    finally:
        cluster.stop()


async def test_a_second_process_under_a_nodes_name_does_not_serve(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1)
    second = cluster.spawn_node("n1", f"--data-dir={cluster.directory / 'elsewhere'}", "--join-timeout-s=0.5")
    assert second.wait() == 1
    assert "is taken by a live node" in second.log.read_text()
    third = cluster.spawn_node("n1")
    assert third.wait() == 1
    assert "is in use by another process" in third.log.read_text()
    second.stop()
    third.stop()


async def test_a_restarted_node_does_not_wait_for_its_predecessors_lease(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, lease_ttl_s=60)
    async with connect(cluster.router) as channel:
        before = await run_turn(channel, "s", turn("hi"))
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        cluster.start_node("n1")
        after = await run_turn_until_answered(channel, "s", turn("hi"), 5)
    assert after.epoch > before.epoch
