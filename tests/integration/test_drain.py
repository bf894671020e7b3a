"""A node is taken out while its sessions are in use: what clients notice of it."""

import asyncio
import signal
import time
from collections.abc import Callable

import grpc
from grpc import aio

from agentring.rpc.status import read_error
from agentring.v1 import cluster_pb2, cluster_pb2_grpc
from harness.agents import FLAGS
from harness.client import connect, run_turn, run_turn_until_answered, turn
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
        running = asyncio.create_task(run_turn(channel, "busy", turn(tokens=40, rate=20)))
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
        assert (await running).result == {"tokens": 40}
        told_of = await draining
        assert told_of[0].turns_running == 1
        assert (told_of[-1].sessions_left, told_of[-1].done) == (0, True)
        after = await run_turn_until_answered(channel, "busy", turn("hi"), 5)
        assert after.node != victim
    process = cluster.nodes[victim].process
    assert process.returncode is None  # it stays until it is ended
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


async def test_a_rolling_restart_of_every_node_loses_no_turn(make_cluster: Callable[..., Cluster]) -> None:
    """Callers who try again as they are told get every turn, once, on a session that has kept its state."""
    cluster = make_cluster(nodes=3, flags=FLAGS)
    over = asyncio.Event()
    hand_offs_s: list[float] = []

    async def use(channel: aio.Channel, name: str) -> int:
        turns = 0
        while not over.is_set():
            given, refused_s = turn("x"), 0.0
            while True:
                try:
                    told = await run_turn(channel, name, given, agent="faulty")
                    break
                except grpc.RpcError as error:
                    report = read_error(error)
                    assert report.code is grpc.StatusCode.UNAVAILABLE, report
                    assert report.retry_after_s is not None, report
                    refused_s = refused_s or time.monotonic()
                    await asyncio.sleep(0.02)
            turns += 1
            assert told.result == {"turns": turns}, name
            if refused_s:
                hand_offs_s.append(time.monotonic() - refused_s)
            await asyncio.sleep(0.05)
        return turns

    async with connect(cluster.router) as channel:
        users = [asyncio.create_task(use(channel, name)) for name in names()]
        for name in list(cluster.nodes):
            await asyncio.to_thread(cluster.nodes[name].process.stop, signal.SIGTERM)
            await asyncio.to_thread(cluster.start_node, name, *FLAGS)
            await asyncio.to_thread(until_sees, cluster.router, 3)
        over.set()
        turns = await asyncio.gather(*users)
    assert min(turns) > 3
    assert all(hand_off_s < MAX_HAND_OFF_S for hand_off_s in hand_offs_s), sorted(hand_offs_s)
    started = [(line["session"], line["turn"]) for line in cluster.audit("turn_committed")]
    assert len(started) == len(set(started)) == sum(turns)


def names() -> list[str]:
    return [f"s{index}" for index in range(SESSIONS)]


async def drained(channel: aio.Channel, node: str) -> list[cluster_pb2.DrainNodeResponse]:
    request = cluster_pb2.DrainNodeRequest(node_id=node)
    return [progress async for progress in cluster_pb2_grpc.ClusterServiceStub(channel).DrainNode(request, timeout=30)]
