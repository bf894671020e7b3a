"""A node is taken out while its sessions are in use: what clients notice of it."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

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
DRAIN_TIMEOUT_S = 25.0  # longer than all hand-offs take together on a busy machine


async def test_idle_sessions_move_at_once_and_the_busy_one_when_its_turn_has_ended(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=2, flags=(*FLAGS, f"--drain-timeout-s={DRAIN_TIMEOUT_S}"))
    may_end = tmp_path / "may end"
    async with connect(cluster.router) as channel:
        before = {name: await run_turn(channel, name, turn("x"), agent="faulty") for name in names()}
        victim = before["s0"].node
        moving = [name for name, received in before.items() if received.node == victim and name != "s0"]
        assert moving
        running = asyncio.create_task(run_turn(channel, "busy", turn(str(may_end)), agent="released"))
        await cluster.until_audited("turn_started", SESSIONS + 1)
        (line,) = [line for line in cluster.audit("turn_started") if line["session"] == "busy"]
        victim = line["node"]
        moving = [name for name, received in before.items() if received.node == victim]
        draining = asyncio.create_task(drained(channel, victim))
        await cluster.until_audited("drain_started", 1)
        await _until(lambda: _state(cluster, victim), "draining")  # what came before was taken
        for name in moving:
            began_s = time.monotonic()
            received = await run_turn_until_answered(channel, name, turn("x"), 5, agent="faulty")
            assert time.monotonic() - began_s < MAX_HAND_OFF_S
            assert received.node != victim
            assert received.epoch > before[name].epoch
            assert received.result == {"turns": 2}
        assert not running.done()  # all others were given up before its end
        status, out, _ = await agentring("status", "--router", cluster.router)
        assert (status, f"{victim} drains: 1 sessions left, 1 turns running" in out.splitlines()) == (0, True), out
        may_end.touch()
        assert (await running).result == {"released": True}
        told_of = await draining
        assert told_of[0].turns_running == 1
        assert (told_of[-1].sessions_left, told_of[-1].done) == (0, True)
        after = await run_turn_until_answered(channel, "busy", turn(str(may_end)), 5, agent="released")
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


async def test_a_command_drains_a_node_and_has_it_back(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2)
    to = ("--router", cluster.router)
    status, out, err = await agentring("drain", "n1", *to)
    assert (status, err, out.splitlines()[-1]) == (0, "", "n1 has left")
    status, out, err = await agentring("drain", "nobody", *to)
    assert (status, out) == (1, "")
    assert "NODE_NOT_FOUND" in err
    until_sees(cluster.router, 1)
    await _until_drained(cluster, "n1")
    assert "DRAINED" in (await agentring("status", *to))[1]
    status, out, err = await agentring("undrain", "n1", *to)
    assert (status, err) == (0, "")
    assert out.startswith("n1 is ACTIVE again, as incarnation ")
    until_sees(cluster.router, 2)
    async with connect(cluster.router) as channel:
        owners = {(await run_turn(channel, name, turn("x"), agent="echo")).node for name in names()}
        assert owners == {"n1", "n2"}
        again = await cluster_pb2_grpc.ClusterServiceStub(channel).UndrainNode(
            cluster_pb2.UndrainNodeRequest(node_id="n1"), timeout=10
        )
    assert f"as incarnation {again.incarnation}" in out  # of a node that is ACTIVE nothing is changed
    status, out, err = await agentring("drain", "n1", *to)  # and it can go and come as often as one likes
    assert (status, out.splitlines()[-1]) == (0, "n1 has left")
    assert (await agentring("undrain", "n1", *to))[0] == 0
    until_sees(cluster.router, 2)
    assert len(cluster.audit("drain_done")) == 2
    assert len(cluster.audit("joined")) == 4


async def test_the_last_node_of_an_agent_is_drained_by_force_alone_and_everybody_says_so(
    make_cluster: Callable[..., Cluster],
) -> None:
    """n3 hosts an agent that no other node does."""
    cluster = make_cluster(nodes=2)
    cluster.start_node("n3", "--agent=rare=agent_node.agents.echo:echo")
    until_sees(cluster.router, 3)
    to = ("--router", cluster.router)
    status, out, err = await agentring("drain", "n3", *to)
    assert (status, out) == (1, "")
    assert "LAST_NODE_OF_AGENT" in err
    assert "agent=rare" in err
    assert (await agentring("drain", "n3", "--force", *to))[0] == 0
    assert (await agentring("drain", "n1", *to))[0] == 0
    async with connect(cluster.router) as channel:
        assert await health(channel, "agentring.sessions") == HealthCheckResponse.SERVING
        status, _, err = await agentring("drain", "n2", *to)
        assert (status, "LAST_NODE_OF_AGENT" in err) == (1, True)
        assert (await run_turn(channel, "s", turn("x"))).node == "n2"  # nothing has happened to it
        status, out, _ = await agentring("drain", "n2", "--force", *to)
        assert (status, out.splitlines()[-1]) == (0, "n2 has left")
        await _until(lambda: health(channel, "agentring.sessions"), HealthCheckResponse.NOT_SERVING)
        assert await health(channel, "") == HealthCheckResponse.SERVING
        status, out, _ = await agentring("status", *to)
        assert out.count("NO_NODES") == 2  # the router's word, and a line for people
        assert (await agentring("undrain", "n2", *to))[0] == 0
        await _until(lambda: health(channel, "agentring.sessions"), HealthCheckResponse.SERVING)
    status, out, _ = await agentring("status", *to)
    assert "NO_NODES" not in out


async def test_of_nodes_that_are_drained_at_once_through_two_routers_one_stays(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=3, routers=2)
    async with connect(cluster.routers["r1"].address) as one, connect(cluster.routers["r2"].address) as other:
        for _ in range(2):
            drains = [drained(channel, name) for name, channel in (("n1", one), ("n2", other), ("n3", one))]
            results = await asyncio.gather(*drains, return_exceptions=True)
            (refused,) = [each for each in results if isinstance(each, grpc.RpcError)]
            assert read_error(refused).reason == "LAST_NODE_OF_AGENT"
            stub = cluster_pb2_grpc.ClusterServiceStub(other)
            for name in cluster.nodes:
                await _until_drained_or_active(cluster, name)
                await stub.UndrainNode(cluster_pb2.UndrainNodeRequest(node_id=name), timeout=20)
            for router in cluster.routers.values():
                await asyncio.to_thread(until_sees, router.address, 3)


async def test_an_undrain_during_a_drain_has_the_node_back_after_it(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, flags=FLAGS)
    async with connect(cluster.router) as channel:
        running = asyncio.create_task(run_turn(channel, "busy", turn(tokens=40, rate=20)))
        await cluster.until_audited("turn_started", 1)
        (line,) = cluster.audit("turn_started")
        draining = asyncio.create_task(drained(channel, line["node"]))
        await cluster.until_audited("drain_started", 1)
        request = cluster_pb2.UndrainNodeRequest(node_id=line["node"])
        back = await cluster_pb2_grpc.ClusterServiceStub(channel).UndrainNode(request, timeout=20)
        assert running.done()  # the turn was let end
        assert (await running).result == {"tokens": 40}
        assert (await draining)[-1].done
        until_sees(cluster.router, 2)
    assert [entry["incarnation"] for entry in cluster.audit("joined")][-1] == back.incarnation


async def _until_drained(cluster: Cluster, name: str) -> None:
    await _until(lambda: _state(cluster, name), "drained")


async def _until_drained_or_active(cluster: Cluster, name: str) -> None:
    async with asyncio.timeout(20):
        while await _state(cluster, name) not in ("drained", "active"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _state(cluster: Cluster, name: str) -> str:
    """As the routers see it; empty: one of them does not."""
    found = set()
    for router in cluster.routers.values():
        async with connect(router.address) as channel:
            listed = await cluster_pb2_grpc.ClusterServiceStub(channel).ListNodes(
                cluster_pb2.ListNodesRequest(), timeout=5
            )
        states = {node.node_id: node for node in listed.nodes}
        node = states.get(name)
        if node is None:
            return ""
        active = node.state == cluster_pb2.NODE_STATE_ACTIVE
        found.add("drained" if node.drained else "active" if active else "draining")
    return found.pop() if len(found) == 1 else ""


async def _until(ask: Callable[[], Awaitable[object]], answer: object) -> None:
    async with asyncio.timeout(20):
        while await ask() != answer:  # noqa: ASYNC110  it is in other processes
            await asyncio.sleep(0.02)


async def health(channel: aio.Channel, service: str) -> int:
    stub = HealthStub(channel)
    answer = await stub.Check(HealthCheckRequest(service=service), timeout=5)  # type: ignore[attr-defined]
    return int(answer.status)


@dataclass
class Seen:
    """What the users of a cluster have seen."""

    turns: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """What they were told to try again after, by reason."""
    hand_offs_s: list[float] = field(default_factory=list)
    """From a session's last answer, or the next question where that came later, to its first word from a new owner."""
    owned: set[str] = field(default_factory=set)
    """Sessions that have answered."""
    all_owned: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, name: str) -> None:
        """A session has answered."""
        self.owned.add(name)
        if len(self.owned) == SESSIONS:
            self.all_owned.set()

    def summary(self) -> str:
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
        sent, asked_s = turn("x"), time.monotonic()
        while True:
            try:
                received = await run_turn(channel, name, sent, agent="faulty")
                break
            except grpc.RpcError as error:
                report = read_error(error)
                assert report.code is grpc.StatusCode.UNAVAILABLE, report
                assert report.retry_after_s is not None, report
                seen.errors[report.reason] += 1
                await asyncio.sleep(0.02)
        turns += 1
        seen.answered(name)
        assert received.result == {"turns": turns}, name
        if turns > 1 and (received.node, received.epoch) != owner:
            assert received.node != owner[0], name
            assert received.epoch > owner[1], name
            seen.hand_offs_s.append(received.first_s - asked_s)
        owner = received.node, received.epoch
        await asyncio.sleep(0.05)
    seen.turns += turns


async def test_a_rolling_restart_of_every_node_loses_no_turn(make_cluster: Callable[..., Cluster]) -> None:
    """Callers who try again as they are told get every turn, once, on a session that has kept its state and that moves
    only when its node is stopped."""
    cluster = make_cluster(nodes=3, flags=FLAGS)
    over, seen = asyncio.Event(), Seen()
    async with connect(cluster.router) as channel:
        users = [asyncio.create_task(use(channel, name, seen, over)) for name in names()]
        # A session whose claim meets the drain before its first turn is claimed again, and no user sees a hand-off.
        await asyncio.wait_for(seen.all_owned.wait(), 30)
        for name in list(cluster.nodes):
            await asyncio.to_thread(cluster.nodes[name].process.stop, signal.SIGTERM)
            await asyncio.to_thread(cluster.start_node, name, *FLAGS)
            await asyncio.to_thread(until_sees, cluster.router, 3)
        over.set()
        await asyncio.gather(*users)
    print(seen.summary())
    assert seen.errors.keys() <= {"NODE_DRAINING", "SESSION_MOVING", "NODE_UNREACHABLE", "NODE_FENCED"}
    assert len(seen.hand_offs_s) >= SESSIONS  # each has been on some node
    assert max(seen.hand_offs_s) < MAX_HAND_OFF_S, seen.summary()
    committed = [(line["session"], line["turn"]) for line in cluster.audit("turn_committed")]
    assert len(committed) == len(set(committed)) == seen.turns
    assert len(cluster.audit("claimed")) == SESSIONS + len(seen.hand_offs_s)
    assert len(cluster.audit("released")) == len(seen.hand_offs_s)  # none waited for a lease to end


def names() -> list[str]:
    return [f"s{index}" for index in range(SESSIONS)]


async def drained(channel: aio.Channel, node: str) -> list[cluster_pb2.DrainNodeResponse]:
    request = cluster_pb2.DrainNodeRequest(node_id=node)
    return [progress async for progress in cluster_pb2_grpc.ClusterServiceStub(channel).DrainNode(request, timeout=30)]
