"""The processes themselves: how they start, refuse to start, and stop."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc
from harness.client import connect, error_of, run_turn, turn
from harness.cluster import Cluster, Member, until_sees
from harness.conditions import is_healthy
from harness.postgres import PostgresProcess
from harness.processes import Process, free_port, python, wait_until
from harness.up_process import agentring


def _outcome(process: Process) -> tuple[int, str]:
    status = process.wait()
    process.stop()
    return status, process.log.read_text().strip()


def test_wrong_settings_are_one_line_and_status_2(tmp_path: Path) -> None:
    command = python("agent_node", "--node-id=n1", f"--data-dir={tmp_path}", "--lease-ttl-s=1")
    status, printed = _outcome(Process(command, tmp_path / "log"))
    assert status == 2
    assert printed.startswith("agent_node: --lease-ttl-s: ")
    assert len(printed.splitlines()) == 1


def test_a_node_without_etcd_says_so_and_ends(tmp_path: Path) -> None:
    flags = ("--node-id=n1", f"--data-dir={tmp_path / 'n1'}", f"--etcd=http://127.0.0.1:{free_port()}")
    status, printed = _outcome(Process(python("agent_node", *flags, "--etcd-timeout-s=0.5"), tmp_path / "log"))
    assert status == 1
    assert printed.splitlines()[-1].startswith("agent_node: etcd: ")
    assert "Traceback" not in printed


def test_a_router_without_etcd_says_so_and_ends(tmp_path: Path) -> None:
    flags = ("--listen=127.0.0.1:0", f"--etcd=http://127.0.0.1:{free_port()}", "--etcd-timeout-s=0.5")
    status, printed = _outcome(Process(python("router", *flags), tmp_path / "log"))
    assert status == 1
    assert printed.splitlines()[-1].startswith("router: etcd: ")
    assert "Traceback" not in printed


async def test_an_agent_that_cannot_be_loaded_is_named_and_stops_no_other(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1)
    node = cluster.start_node("n2", "--agent=mine=no_such_module:agent")
    (line,) = [line for line in node.process.log.read_text().splitlines() if "agent_left_out" in line]
    why = json.loads(line)["why"]
    assert why.startswith(
        "agent 'mine' cannot be loaded from 'no_such_module:agent': "
        "ModuleNotFoundError: No module named 'no_such_module', looked for in /"
    )
    async with connect(cluster.router) as channel:
        assert (await run_turn(channel, "s", turn("hi"), agent="echo")).text == "hi"


def test_a_node_with_another_store_than_the_others_says_so_and_ends(
    tmp_path: Path, make_cluster: Callable[..., Cluster]
) -> None:
    cluster = make_cluster(nodes=1)
    flags = (f"--store=sqlite:///{tmp_path}/another.db", "--join-timeout-s=0.1")
    status, printed = _outcome(cluster.spawn_node("n2", *flags))
    assert status == 1
    assert printed.splitlines()[-1].startswith("agent_node: the cluster's nodes keep sessions in the store ")
    assert "Traceback" not in printed


def test_a_taken_port_is_named(tmp_path: Path, make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1)
    flags = (f"--listen={cluster.router}", f"--etcd={cluster.etcd_url}", f"--cluster={cluster.name}")
    status, printed = _outcome(Process(python("router", *flags), tmp_path / "log"))
    assert status == 1
    assert printed.splitlines()[-1] == f"router: cannot listen on {cluster.router}"


async def test_a_stopping_router_lets_calls_end_and_exits_cleanly(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1)
    async with connect(cluster.router) as channel:
        running = asyncio.create_task(run_turn(channel, "s", turn(tokens=20, rate=20)))
        await cluster.until_audited("turn_started", 1)
        process = cluster.routers["r1"].process
        process.send(signal.SIGTERM)
        received = await running
    assert received.result == {"tokens": 20}
    assert process.wait() == 0


async def test_a_router_without_nodes_says_so_and_serves_when_one_has_come(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=0)
    async with connect(cluster.router) as channel:
        request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=turn("hi"))
        report = await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))
        assert (report.code, report.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_NODES")
        assert report.retry_after_s is not None
        cluster.start_node("n1")
        until_sees(cluster.router, 1)
        assert (await run_turn(channel, "s", turn("hi"))).node == "n1"


async def test_health_tells_that_node_and_router_serve(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1)
    for address, service in [
        (cluster.router, ""),
        (cluster.router, "agentring.v1.ClusterService"),
        (cluster.nodes["n1"].address, ""),
        (cluster.nodes["n1"].address, "agentring.v1.SessionService"),
    ]:
        async with connect(address) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            response = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)  # type: ignore[attr-defined]
        assert response.status == health_pb2.HealthCheckResponse.SERVING, (address, service)


async def test_a_router_and_a_node_say_how_their_data_plane_runs(make_cluster: Callable[..., Cluster]) -> None:
    """Compiled where scripts/test puts the wheel before the sources, else interpreted."""
    runs = "compiled" if os.environ.get("PYTHONPATH", "").endswith("/compiled") else "interpreted"
    cluster = make_cluster(nodes=1)
    for member in (cluster.routers["r1"], cluster.nodes["n1"]):
        assert member.ready_line["data_plane"] == runs
        logged = map(json.loads, member.process.log.read_text().splitlines())
        (ready,) = (line for line in logged if line["event"] == "ready")
        assert (ready["data_plane"], ready["address"]) == (runs, member.address)


async def test_two_routers_agree_on_the_ring(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, routers=2)
    checksums, shares = set(), []
    for router in cluster.routers.values():
        async with connect(router.address) as channel:
            stub = cluster_pb2_grpc.ClusterServiceStub(channel)
            response = await stub.GetRing(cluster_pb2.GetRingRequest(), timeout=5)
            checksums.add(response.checksum)
            shares.append([member.share for member in response.members])
    assert len(checksums) == 1
    assert [len(each) for each in shares] == [2, 2]
    assert all(abs(sum(each) - 1) < 1e-9 for each in shares)


async def test_a_proxy_for_web_pages_stands_between_none_of_our_processes(
    make_cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    cluster = make_cluster(nodes=2)
    assert (await agentring("status", "--router", cluster.router))[0] == 0
    status, out, err = await agentring("drain", "n1", "--router", cluster.router)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "n1 has left"


async def test_a_node_waits_for_its_store_to_come_and_ends_when_it_is_told_to_meanwhile(
    own_postgres: PostgresProcess, make_cluster: Callable[..., Cluster]
) -> None:
    cluster = make_cluster(nodes=0)
    store = f"--store={own_postgres.database()}"
    own_postgres.stop()
    first, second = (cluster.spawn_node(name, store, "--store-timeout-s=1") for name in ("n1", "n2"))

    def all_wait() -> bool:
        return all("store_awaited" in node.log.read_text() for node in (first, second))

    await asyncio.to_thread(wait_until, all_wait, "they wait for the store")
    first.send(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait) == 0
    first.stop()
    await asyncio.to_thread(own_postgres.restart)
    cluster.nodes["n2"] = await asyncio.to_thread(Member, "n2", second)
    assert await is_healthy(cluster.nodes["n2"].address)


@pytest.mark.parametrize("program", ["router", "agent_node"])
def test_too_few_descriptors_are_told_at_the_start(tmp_path: Path, etcd_url: str, program: str) -> None:
    flags = ["--listen=127.0.0.1:0", f"--etcd={etcd_url}"]
    if program == "agent_node":
        flags += ["--node-id=n1", f"--data-dir={tmp_path / 'n1'}"]
    command = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *python(program, *flags)]
    status, printed = _outcome(Process(command, tmp_path / "log"))
    assert status == 1
    assert printed == f"{program}: too few file descriptors: ulimit -n is 64, and 128 are needed at least"


def test_a_router_with_few_descriptors_takes_fewer_connections_and_says_so(tmp_path: Path, etcd_url: str) -> None:
    flags = ("--listen=127.0.0.1:0", f"--etcd={etcd_url}", "--cluster=few")
    command = ["sh", "-c", 'ulimit -n 400; exec "$@"', "sh", *python("router", *flags)]
    process = Process(command, tmp_path / "log")
    process.ready_line()
    assert process.stop() == 0
    assert '"max_connections": 200, "wanted": 20000, "event": "max_connections_lowered"' in process.log.read_text()


def test_a_router_starts_however_long_the_path_for_temporary_files_is(tmp_path: Path, etcd_url: str) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    flags = ("--listen=127.0.0.1:0", f"--etcd={etcd_url}", "--cluster=long")
    process = Process(python("router", *flags), tmp_path / "log", {"TMPDIR": str(long)})
    process.ready_line()
    assert process.stop() == 0
