"""Several router processes on one port, and what a router counts."""

import os
import signal
import urllib.request
from collections.abc import Callable

import grpc
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect, error_of, run_turn, turn
from harness.cluster import Cluster
from harness.processes import free_port, wait_until


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(word) for word in children.read().split()]


def _is_alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _counted(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name.removeprefix("agentring_router_"): float(value) for name, value in map(str.rsplit, lines)}


async def _turns(cluster: Cluster, count: int) -> None:
    for n in range(count):
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with aio.insecure_channel(cluster.router, options=options) as channel:
            assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"


async def test_workers_share_the_port_and_the_work(make_cluster: Callable[..., Cluster]) -> None:
    port = free_port()
    cluster = make_cluster(nodes=2, router_flags=("--workers=2", f"--metrics-listen=127.0.0.1:{port}"))
    await _turns(cluster, 40)
    calls = [_counted(each)["calls_total"] for each in (port, port + 1)]
    assert sum(calls) >= 40
    assert all(calls), "one worker got no connection at all"


async def test_a_worker_that_dies_is_started_again_and_all_end_with_the_router(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, router_flags=("--workers=2",))
    router = cluster.routers["r1"].process
    first, second = _children(router.pid)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "worker_ended" in router.log.read_text(), "the end of the worker was not noticed")
    await _turns(cluster, 5)
    wait_until(lambda: len(_children(router.pid)) == 2, "the worker was not started again")
    workers = _children(router.pid)
    assert second in workers
    router.stop(signal.SIGTERM)
    assert router.wait() == 0
    assert not any(map(_is_alive, workers))


async def test_a_router_counts_its_calls_and_its_errors(make_cluster: Callable[..., Cluster]) -> None:
    port = free_port()
    cluster = make_cluster(nodes=1, router_flags=(f"--metrics-listen=127.0.0.1:{port}", "--self-check-s=0"))
    before = _counted(port)
    await _turns(cluster, 3)
    async with connect(cluster.router) as channel:
        request = session_pb2.RunTurnRequest(session_id="../x", agent="echo", turn=turn("hi"))
        report = await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))
        assert report.code is grpc.StatusCode.INVALID_ARGUMENT
        counted = _counted(port)
    assert counted["calls_total"] - before["calls_total"] == 4
    assert counted['errors_total{reason="INVALID_SESSION_ID"}'] == 1
    assert counted["calls_in_flight"] == 0
    assert counted["client_connections"] == 1
    assert counted["buffered_bytes"] == 0
    assert counted["ring_nodes"] == 1
    assert counted['received_bytes_total{role="client"}'] > 0
    assert counted['sent_bytes_total{role="node"}'] > 0
