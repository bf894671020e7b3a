"""A node is taken out while its sessions are in use: what clients notice of it."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from agentring.rpc.status import read_error
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc
from harness.agents import FLAGS
from harness.client import connect, error_of, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster, until_sees
from harness.up_process import agentring

SESSIONS = 24
MAX_HAND_OFF_S = 1.0


async def test_idle_sessions_move_at_once_and_the_busy_one_when_its_turn_has_ended(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, flags=FLAGS)
    async with connect(cluster.router) as channel:
        before = {name: await run_turn(channel, name, turn("x"), agent="faulty") for name in names()}
        victim = before["s0"].node
        moving = [name for name, told in before.items() if told.node == victim and name != "s0"]
        assert moving
        running = asyncio.create_task(run_turn(channel, "busy", turn(tokens=80, rate=20)))
        await cluster.until_audited("turn_started", SESSIONS + 1)
        (line,) = [line for line in cluster.audit("turn_started") if line["session"] == "busy"]
        victim = line["node"]
        moving = [name for name, told in before.items() if told.node == victim]
        draining = asyncio.create_task(drained(channel, victim))
        await cluster.until_audited("drain_started", 1)
        for name in moving:
            began_s = time.monotonic()
            told = await run_turn_until_answered(channel, name, turn("x"), 5, agent="faulty")
            assert time.monotonic() - began_s < MAX_HAND_OFF_S
            assert told.node != victim
            assert told.epoch > before[name].epoch
            assert told.result == {"turns": 2}
        assert not running.done()  # all others were given up before its end
        status, out, _ = await agentring("status", "--router", cluster.router)
        assert status == 0
        assert f"{victim} drains: 1 sessions left, 1 turns running" in out.splitlines()
        assert (await running).result == {"tokens": 80}
        told_of = await draining
        assert told_of[0].turns_running == 1
        assert (told_of[-1].sessions_left, told_of[-1].done) == (0, True)
        after = await run_turn_until_answered(channel, "busy", turn("hi"), 5)
        assert after.node != victim
    process = cluster.nodes[victim].process
    assert process.returncode is None  # it stays until it is ended, and says what it is
    async with connect(cluster.nodes[victim].address) as direct:
        health = await HealthStub(direct).Check(HealthCheckRequest(), timeout=5)  # type: ignore[attr-defined]
        assert health.status == HealthCheckResponse.NOT_SERVING
        request = session_pb2.RunTurnRequest(session_id="new", agent="echo", turn=turn("hi"))
        report = await error_of(session_pb2_grpc.SessionServiceStub(direct).RunTurn(request, timeout=5))
        assert report.reason == "NODE_DRAINING"
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert [line["node"] for line in cluster.audit("drain_done")] == [victim]


async def test_a_command_drains_a_node_and_tells_how_far_it_is(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2)
    status, out, err = await agentring("drain", "n1", "--router", cluster.router)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "n1 has left"
    status, out, err = await agentring("drain", "nobody", "--router", cluster.router)
    assert (status, out) == (1, "")
    assert "NODE_NOT_FOUND" in err
    until_sees(cluster.router, 1)


@dataclass
class Seen:
    """What the users of a cluster have seen."""

    turns: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """What they were told to try again after, by reason."""
    hand_offs_s: list[float] = field(default_factory=list)
    """From a session's last answer, or the next question where that came later, to its first word from a new owner."""

    def told(self) -> str:
        """For the test's output."""
        waits = sorted(self.hand_offs_s)
        p50, p99 = (waits[int(part * (len(waits) - 1))] for part in (0.5, 0.99))
        return (
            f"{len(waits)} hand-offs: p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, longest {waits[-1] * 1e3:.0f} ms"
            f"; {self.turns} turns; errors to try again after: {dict(self.errors)}"
        )


async def use(channel: aio.Channel, name: str, seen: Seen, over: asyncio.Event) -> None:
    """Runs turns one after the other, each until it is answered; the session must have kept its state."""
    turns, owner = 0, ("", 0)
    while not over.is_set():
        given, asked_s = turn("x"), time.monotonic()
        while True:
            try:
                told = await run_turn(channel, name, given, agent="faulty")
                break
            except grpc.RpcError as error:
                report = read_error(error)
                assert report.code is grpc.StatusCode.UNAVAILABLE, report
                assert report.retry_after_s is not None, report
                seen.errors[report.reason] += 1
                await asyncio.sleep(0.02)
        turns += 1
        assert told.result == {"turns": turns}, name
        if turns > 1 and (told.node, told.epoch) != owner:
            assert told.node != owner[0], name
            assert told.epoch > owner[1], name
            seen.hand_offs_s.append(told.first_s - asked_s)
        owner = told.node, told.epoch
        await asyncio.sleep(0.05)
    seen.turns += turns


async def test_a_rolling_restart_of_every_node_loses_no_turn(make_cluster: Callable[..., Cluster]) -> None:
    """Callers who try again as they are told get every turn, once, on a session that has kept its state and that moves
    only when its node is stopped."""
    cluster = make_cluster(nodes=3, flags=FLAGS)
    over, seen = asyncio.Event(), Seen()
    async with connect(cluster.router) as channel:
        users = [asyncio.create_task(use(channel, name, seen, over)) for name in names()]
        for name in list(cluster.nodes):
            await asyncio.to_thread(cluster.nodes[name].process.stop, signal.SIGTERM)
            await asyncio.to_thread(cluster.start_node, name, *FLAGS)
            await asyncio.to_thread(until_sees, cluster.router, 3)
        over.set()
        await asyncio.gather(*users)
    print(seen.told())
    assert seen.errors.keys() <= {"NODE_DRAINING", "SESSION_MOVING", "NODE_UNREACHABLE", "NODE_FENCED"}
    assert len(seen.hand_offs_s) >= SESSIONS  # each has been on some node
    assert max(seen.hand_offs_s) < MAX_HAND_OFF_S, seen.told()
    committed = [(line["session"], line["turn"]) for line in cluster.audit("turn_committed")]
    assert len(committed) == len(set(committed)) == seen.turns
    assert len(cluster.audit("claimed")) == SESSIONS + len(seen.hand_offs_s)
    assert len(cluster.audit("released")) == len(seen.hand_offs_s)  # none waited for a lease to end


def names() -> list[str]:
    return [f"s{index}" for index in range(SESSIONS)]


async def drained(channel: aio.Channel, node: str) -> list[cluster_pb2.DrainNodeResponse]:
    request = cluster_pb2.DrainNodeRequest(node_id=node)
    return [progress async for progress in cluster_pb2_grpc.ClusterServiceStub(channel).DrainNode(request, timeout=30)]
