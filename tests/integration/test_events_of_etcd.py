"""The table of events, row by row, with real processes: what befalls etcd itself (unreachable, without space, wiped).

What is promised to whoever owns a session, to whoever wants a new one, and what health and metrics say.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from agentring.cluster.coordinator import PROBE_S
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.v1 import (
    halt_pb2,
    halt_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)
from events_table import TTL_S, cluster_on, logged, measured, new_session, refused_by
from harness.client import connect, error_of, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster, until_sees
from harness.conditions import has_coordinator, is_healthy, metrics, until, until_state
from harness.etcd import EtcdProcess
from harness.etcd_faults import fill_up, revoke_leases
from harness.processes import wait_until


async def test_etcd_unreachable__sessions_go_on_new_ones_wait_and_it_resumes(
    own_etcd: EtcdProcess, tmp_path: Path
) -> None:
    node_metrics, node_flag = measured()
    router_metrics, router_flag = measured()
    with cluster_on(own_etcd.url, tmp_path / "c", lease_ttl_s=20) as cluster:
        cluster.start(nodes=1, flags=(node_flag,), router_flags=(router_flag,))
        async with connect(cluster.router) as channel:
            before = await run_turn(channel, "s", turn("hi"))
            own_etcd.process.freeze()
            await until_state(node_metrics, "node", "degraded")
            await until_state(router_metrics, "router", "degraded")
            for address in (cluster.nodes["n1"].address, cluster.router):
                assert await is_healthy(address)
                assert not await has_coordinator(address)
            during = await run_turn(channel, "s", turn("still here"))
            assert (during.node, during.epoch) == (before.node, before.epoch)
            report = await new_session(channel, "new")
            assert (report.code, report.reason) == (grpc.StatusCode.UNAVAILABLE, "COORDINATOR_UNAVAILABLE")
            own_etcd.process.send(signal.SIGCONT)
            await run_turn_until_answered(channel, "new", turn("hi"), 10)
            await until_state(node_metrics, "node", "serving")
            await until_state(router_metrics, "router", "serving")
            assert await has_coordinator(cluster.nodes["n1"].address)
            after = await run_turn(channel, "s", turn("hi"))
            assert (after.node, after.epoch) == (before.node, before.epoch)
        assert cluster.audit("fenced") == []


def test_etcd_unreachable_for_long__a_fenced_node_tries_again_and_again_and_can_be_stopped(
    own_etcd: EtcdProcess, tmp_path: Path
) -> None:
    with cluster_on(own_etcd.url, tmp_path / "c") as cluster:
        cluster.start(nodes=1, routers=0)
        node = cluster.nodes["n1"].process
        own_etcd.process.freeze()
        wait_until(lambda: len(logged(node.log, "join_failed")) >= 3, "the node does not try to join again")
        pauses_s = [line["again_in_s"] for line in logged(node.log, "join_failed")]
        assert pauses_s[:3] == [0.25, 0.5, 1.0]
        assert [line["reason"] for line in cluster.audit("fenced")] == ["NOT_RENEWED"]
        node.send(signal.SIGTERM)
        assert node.wait(5) == 0


@pytest.fixture
def small_etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """Its quota is soon exhausted."""
    etcd = EtcdProcess(tmp_path, f"--quota-backend-bytes={16 << 20}")
    try:
        yield etcd
    finally:
        etcd.stop()


async def test_no_space__existing_sessions_go_on_new_ones_are_refused_and_a_drain_ends(
    small_etcd: EtcdProcess, tmp_path: Path
) -> None:
    node_metrics, flag = measured()
    with cluster_on(small_etcd.url, tmp_path / "c") as cluster:
        cluster.start(nodes=1, flags=(flag,))
        cluster.start_node("n2")
        until_sees(cluster.router, 2)
        node = cluster.nodes["n1"]
        async with connect(cluster.router) as channel:
            before = await run_turn(channel, "s", turn("hi"))
            other = cluster.nodes["n2" if before.node == "n1" else "n1"]
            await fill_up(small_etcd.url)
            await until_state(node_metrics, "node", "degraded")
            assert metrics(node_metrics)["agentring_node_coordinator_trouble{no_space}"] == 1
            assert await is_healthy(node.address)
            assert not await has_coordinator(node.address)
            report = await new_session(channel, "new")
            assert (report.code, report.reason) == (grpc.StatusCode.UNAVAILABLE, "COORDINATOR_UNAVAILABLE")
            async with connect(other.address) as direct:
                request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=turn("hi"))
                report = await error_of(session_pb2_grpc.SessionServiceStub(direct).RunTurn(request, timeout=10))
                assert (report.reason, report.variables["node"]) == ("NOT_OWNER", before.node)
            halts, scope = halt_pb2_grpc.HaltServiceStub(channel), halt_pb2.HaltScope(kind=halt_pb2.HALT_KIND_ALL)
            halted = await halts.Halt(halt_pb2.HaltRequest(scope=scope), timeout=10)
            assert (list(halted.confirmed), halted.kept.in_etcd, halted.kept.in_store) == (["n1", "n2"], False, True)
            assert (await new_session(channel, "s")).reason == "HALTED"
            resumed = await halts.Resume(halt_pb2.ResumeRequest(scope=scope), timeout=10)
            assert (list(resumed.confirmed), resumed.was_halted) == (["n1", "n2"], True)
            await asyncio.sleep(TTL_S + 1)  # its lease is renewed all the time
            during = await run_turn(channel, "s", turn("still here"))
            assert (during.node, during.epoch) == (before.node, before.epoch)
        assert cluster.audit("fenced") == []
        for each in cluster.nodes.values():
            each.process.send(signal.SIGTERM)
        assert [each.process.wait() for each in cluster.nodes.values()] == [0, 0]
        assert len(cluster.audit("drain_done")) == 2
        async with EtcdClient([small_etcd.url]) as client:
            assert (await client.range(Keys(cluster.name).nodes)).kvs == ()
            assert (await client.range(f"{Keys(cluster.name).root}sessions/")).kvs == ()


async def test_no_space__a_fenced_node_cannot_join_again_and_says_so(small_etcd: EtcdProcess, tmp_path: Path) -> None:
    node_metrics, flag = measured()
    with cluster_on(small_etcd.url, tmp_path / "c") as cluster:
        cluster.start(nodes=1, routers=0, flags=(flag,))
        node = cluster.nodes["n1"].process
        await fill_up(small_etcd.url)
        assert await revoke_leases(small_etcd.url) >= 1  # the node's, and that of what it hosts
        await until_state(node_metrics, "node", "fenced")
        await until(lambda: len(logged(node.log, "join_failed")) >= 2, "the node does not try to join again")
        trouble = "agentring_node_coordinator_trouble{no_space}"
        await until(lambda: metrics(node_metrics)[trouble] == 1, "the node does not say why")
        assert not await is_healthy(cluster.nodes["n1"].address)
        assert await refused_by(cluster.nodes["n1"].address) == "NODE_FENCED"
        node.send(signal.SIGTERM)
        assert node.wait(5) == 0
        assert len(cluster.audit("joined")) == 1


def new_generation(etcd: EtcdProcess, cluster: Cluster, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentring.cli", "admin", "new-generation"]
    where = [f"--etcd={etcd.url}", f"--cluster={cluster.name}", "--json"]
    return subprocess.run([*command, *where, *flags], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("how", ["wiped", "restored"])
async def test_etcd_wiped_or_restored__everything_fails_closed_until_a_new_generation(
    own_etcd: EtcdProcess, tmp_path: Path, how: str
) -> None:
    node_metrics, node_flag = measured()
    router_metrics, router_flag = measured()
    with cluster_on(own_etcd.url, tmp_path / "c") as cluster:
        cluster.start(nodes=1, flags=(node_flag,), router_flags=(router_flag,))
        node = cluster.nodes["n1"]
        if how == "restored":
            own_etcd.stop()
            own_etcd.back_up()
            own_etcd.restart()
        async with connect(cluster.router) as channel:
            before = await run_turn_until_answered(channel, "s", turn("hi"), 10)
            for i in range(5):
                await run_turn_until_answered(channel, f"t{i}", turn("hi"), 10)
            scope = halt_pb2.HaltScope(kind=halt_pb2.HALT_KIND_SESSION, session_id="t0")
            halted = await halt_pb2_grpc.HaltServiceStub(channel).Halt(halt_pb2.HaltRequest(scope=scope), timeout=10)
            assert halted.kept.in_etcd
            assert halted.kept.in_store
            # What a process never heard of it cannot miss: the router hears of revisions by its probe alone.
            await asyncio.sleep(2 * PROBE_S)
            own_etcd.stop()
            own_etcd.wipe() if how == "wiped" else own_etcd.restore()
            own_etcd.restart()
            await until_state(node_metrics, "node", "fenced")
            await until_state(router_metrics, "router", "fenced")
            for address in (node.address, cluster.router):
                assert not await is_healthy(address)
            for name in ("s", "new"):
                assert (await new_session(channel, name)).reason == "COORDINATOR_UNAVAILABLE"
            async with asyncio.timeout(10):
                # The probe of etcd has told the metrics; whoever watches the membership finds it out for itself.
                while (reason := await refused_by(node.address)) != "NODE_FENCED":
                    assert reason == "COORDINATOR_UNAVAILABLE"

            if how == "wiped":
                refused = await asyncio.to_thread(new_generation, own_etcd, cluster)
                assert refused.returncode == 1
                assert "--above" in refused.stderr
            await until(lambda: bool(logged(node.process.log, "etcd_history_broken")), "nothing is logged")
            (printed,) = logged(node.process.log, "etcd_history_broken")
            # What was restored has leases, which have to run out first: until then nodes are registered.
            flags = (f"--above={printed['generation']}", f"--cluster-uuid={printed['cluster_uuid']}")
            deadline_s = time.monotonic() + 20
            while (done := await asyncio.to_thread(new_generation, own_etcd, cluster, *flags)).returncode:
                assert time.monotonic() < deadline_s, done.stderr
                assert "nodes are registered: n1" in done.stderr
            generation = json.loads(done.stdout)["generation"]
            after = await run_turn_until_answered(channel, "s", turn("hi"), 20)
            assert after.epoch >> 40 == generation > before.epoch >> 40
            assert (await new_session(channel, "t0")).reason == "HALTED", "the store has what etcd has lost"
            await until_state(node_metrics, "node", "serving")
            await until_state(router_metrics, "router", "serving")
            assert await is_healthy(cluster.router)
            assert len([line for line in cluster.audit("fenced") if line["reason"] == "HISTORY_BROKEN"]) <= 1
            again = await asyncio.to_thread(new_generation, own_etcd, cluster)
            assert again.returncode == 1
            assert "nodes are registered: n1" in again.stderr
