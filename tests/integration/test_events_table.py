"""The table of events of DESIGN section 5, row by row, with real processes; and the two that have no row: a node that
is stuck, and a lease that an operator revokes.

Row by row: what is promised to whoever owns a session, to whoever wants a new one, and what health and metrics say.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent_node.lifecycle.watchdog import EXIT_LOOP_STUCK
from agentring.cluster.coordinator import PROBE_S
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.rpc.status import ErrorReport
from agentring.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)
from harness.agents import FLAGS
from harness.client import connect, error_of, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster, until_sees
from harness.conditions import has_coordinator, is_healthy, metrics, until, until_state
from harness.etcd import EtcdProcess
from harness.etcd_faults import fill_up, revoke_leases
from harness.processes import free_port, wait_until
from robustness.chaos.cluster.links import Link

TTL_S = 3
F_S = 2
"""Of this TTL, the fence comes so long after the last renewal."""


@contextmanager
def cluster_on(etcd_url: str, directory: Path, *, lease_ttl_s: int = TTL_S) -> Iterator[Cluster]:
    directory.mkdir(exist_ok=True)
    cluster = Cluster(etcd_url, directory, lease_ttl_s=lease_ttl_s)
    try:
        yield cluster
    finally:
        cluster.stop()


@asynccontextmanager
async def link_to(etcd_url: str) -> AsyncIterator[Link]:
    link = Link(etcd_url.removeprefix("http://"))
    await link.start("127.0.0.1")
    try:
        yield link
    finally:
        await link.stop()


def measured() -> tuple[str, str]:
    """An address for a process's metrics, and the flag."""
    address = f"127.0.0.1:{free_port()}"
    return address, f"--metrics-listen={address}"


async def new_session(channel: Any, name: str) -> ErrorReport:
    """How a new session is refused."""
    request = session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=turn("hi"))
    return await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))


async def refused_by(address: str) -> str:
    """The reason with which a process refuses a new session, once it refuses one."""
    async with connect(address) as channel:
        return (await new_session(channel, "made-meanwhile")).reason


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


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


async def test_a_node_that_is_drained_while_it_is_fenced_joins_no_more_and_says_so(
    own_etcd: EtcdProcess, tmp_path: Path
) -> None:
    node_metrics, node_flag = measured()
    with cluster_on(own_etcd.url, tmp_path / "c") as cluster:
        cluster.start(nodes=1, routers=0, flags=(node_flag,))
        own_etcd.process.freeze()
        await until_state(node_metrics, "node", "fenced")
        async with connect(cluster.nodes["n1"].address) as direct:
            stub = node_pb2_grpc.NodeServiceStub(direct)
            told = [progress.done async for progress in stub.Drain(node_pb2.DrainRequest(), timeout=10)]
        assert told[-1]
        await until_state(node_metrics, "node", "draining")
        assert len(cluster.audit("drain_done")) == 1
        assert await refused_by(cluster.nodes["n1"].address) == "NODE_DRAINING"


async def test_sigstop_beyond_the_ttl_then_cont__it_drops_everything_and_does_not_end(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The watchdog's ticks stand still with the process: it has missed none."""
    cluster = make_cluster(nodes=1, flags=FLAGS)
    async with connect(cluster.router) as channel:
        call = session_pb2_grpc.SessionServiceStub(channel).WatchSession
        running = asyncio.create_task(run_turn(channel, "s", turn(tokens=400, rate=200)))
        await cluster.until_audited("turn_started", 1)
        watching = call(session_pb2.WatchSessionRequest(session_id="s"), timeout=30)
        await watching.read()
        frozen = cluster.nodes["n1"].process
        frozen.freeze()
        await asyncio.sleep(2 * cluster.lease_ttl_s)
        thawed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        frozen.send(signal.SIGCONT)
        await running  # its router brings it back: the turn runs again
        watching.cancel()
    assert len(cluster.audit("joined")) == 2
    (committed,) = cluster.audit("turn_committed")
    assert committed["epoch"] > cluster.audit("turn_started")[0]["epoch"]
    assert frozen.returncode is None
    (fenced,) = cluster.audit("fenced")
    assert fenced["reason"] in ("NOT_RENEWED", "KEY_GONE", "LEASE_GONE")
    late = [
        line
        for event in ("turn_started", "turn_committed", "tool_started", "turn_failed", "turn_cancelled")
        for line in cluster.audit(event)
        if line["t_ns"] > thawed_ns and line["incarnation"] == fenced["incarnation"]
    ]
    assert late == []


async def test_cut_off_from_etcd_but_not_from_the_router__it_stops_by_f_and_the_router_looks_again(
    etcd_url: str, tmp_path: Path
) -> None:
    async with link_to(etcd_url) as link:
        with cluster_on(etcd_url, tmp_path / "c") as cluster:
            await asyncio.to_thread(cluster.start, nodes=1)
            cut_metrics, flag = measured()
            cluster.etcd_url = f"http://{link.address}"
            await asyncio.to_thread(cluster.start_node, "cut", flag)
            cluster.etcd_url = etcd_url
            await asyncio.to_thread(until_sees, cluster.router, 2)
            async with connect(cluster.router) as channel:
                names = [f"s{i}" for i in range(20)]
                before = {name: await run_turn(channel, name, turn("hi")) for name in names}
                theirs = [name for name in names if before[name].node == "cut"]
                assert theirs
                link.cut()
                cut_at_ns, cut_at_s = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic()
                still = await run_turn(channel, theirs[0], turn("still here"))
                assert (still.node, still.epoch) == ("cut", before[theirs[0]].epoch)
                await cluster.until_audited("fenced", 1)
                patience_s = TTL_S + 5
                after = [await run_turn_until_answered(channel, name, turn("hi"), patience_s) for name in theirs]
                took_s = time.monotonic() - cut_at_s
                for name, told in zip(theirs, after, strict=True):
                    assert told.node == "n1"
                    assert told.epoch > before[name].epoch
                assert took_s < TTL_S + 1, took_s
                (fenced,) = cluster.audit("fenced")
                assert (fenced["node"], fenced["reason"]) == ("cut", "NOT_RENEWED")
                assert fenced["t_ns"] - cut_at_ns < (F_S + 0.5) * 1e9
                assert not await is_healthy(cluster.nodes["cut"].address)
                await until_state(cut_metrics, "node", "fenced")
                assert metrics(cut_metrics)["agentring_node_fences_total{NOT_RENEWED}"] == 1
                link.mend()
                await cluster.until_audited("joined", 3)
                await until_state(cut_metrics, "node", "serving")


async def test_a_router_with_a_stale_ring__the_owner_is_found_in_two_hops(etcd_url: str, tmp_path: Path) -> None:
    async with link_to(etcd_url) as link:
        with cluster_on(etcd_url, tmp_path / "c") as cluster:
            await asyncio.to_thread(cluster.start, nodes=2)
            cluster.etcd_url = f"http://{link.address}"
            stale = await asyncio.to_thread(cluster.start_router, "stale")
            cluster.etcd_url = etcd_url
            link.cut()
            await asyncio.to_thread(cluster.start_node, "n3")
            await asyncio.to_thread(until_sees, cluster.router, 3)
            async with connect(cluster.router) as channel, connect(stale.address) as other:
                ring = cluster_pb2_grpc.ClusterServiceStub(other)
                seen = await ring.GetRing(cluster_pb2.GetRingRequest(), timeout=5)
                assert [member.node_id for member in seen.members] == ["n1", "n2"]
                owners = set()
                for name in (f"s{i}" for i in range(30)):
                    first = await run_turn(channel, name, turn("hi"))
                    second = await run_turn(other, name, turn("hi"))
                    assert (second.node, second.epoch) == (first.node, first.epoch)
                    owners.add(first.node)
                assert owners == {"n1", "n2", "n3"}


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
            (told,) = logged(node.process.log, "etcd_history_broken")
            # What was restored has leases, which have to run out first: until then nodes are registered.
            flags = (f"--above={told['generation']}", f"--cluster-uuid={told['cluster_uuid']}")
            deadline_s = time.monotonic() + 20
            while (done := await asyncio.to_thread(new_generation, own_etcd, cluster, *flags)).returncode:
                assert time.monotonic() < deadline_s, done.stderr
                assert "nodes are registered: n1" in done.stderr
            generation = json.loads(done.stdout)["generation"]
            after = await run_turn_until_answered(channel, "s", turn("hi"), 20)
            assert after.epoch >> 40 == generation > before.epoch >> 40
            await until_state(node_metrics, "node", "serving")
            await until_state(router_metrics, "router", "serving")
            assert await is_healthy(cluster.router)
            assert len([line for line in cluster.audit("fenced") if line["reason"] == "HISTORY_BROKEN"]) <= 1
            again = await asyncio.to_thread(new_generation, own_etcd, cluster)
            assert again.returncode == 1
            assert "nodes are registered: n1" in again.stderr


async def test_an_agent_that_holds_the_loop_up_for_two_ttls_costs_its_process(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS)
    node = cluster.nodes["n1"].process
    async with connect(cluster.router) as channel:
        begun_s = time.monotonic()
        running = asyncio.create_task(run_turn(channel, "s", turn(seconds=2 * cluster.lease_ttl_s), agent="blocking"))
        assert await asyncio.to_thread(node.wait) == EXIT_LOOP_STUCK
        took_s = time.monotonic() - begun_s
        running.cancel()
        await asyncio.wait([running])
    assert took_s < cluster.lease_ttl_s + 1
    (line,) = logged(node.log, "loop_stuck_past_its_lease")
    assert "harness/agents.py" in line["stuck_in"]
    assert (line["session"], line["agent"], line["attempt"]) == ("s", "blocking", 1)
    assert line["missed_s"] >= 0.5


async def test_an_agent_that_holds_the_loop_up_for_less_than_the_lease_lasts_costs_nothing(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS, lease_ttl_s=10)
    async with connect(cluster.router) as channel:
        told = await run_turn(channel, "s", turn(seconds=2), agent="blocking")
        assert told.text == "begundone"
    assert cluster.audit("fenced") == []


async def test_a_lease_revoked_by_an_operator__fenced_within_half_a_second(
    own_etcd: EtcdProcess, tmp_path: Path
) -> None:
    with cluster_on(own_etcd.url, tmp_path / "c", lease_ttl_s=20) as cluster:
        cluster.start(nodes=1)
        async with connect(cluster.router) as channel:
            before = await run_turn(channel, "s", turn("hi"))
            revoked_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            assert await revoke_leases(own_etcd.url) >= 1  # the node's, and that of what it hosts
            await cluster.until_audited("joined", 2)
            after = await run_turn_until_answered(channel, "s", turn("hi"), 5)
        assert after.epoch > before.epoch
        (fenced,) = cluster.audit("fenced")
        assert fenced["reason"] == "KEY_GONE"
        assert fenced["t_ns"] - revoked_ns < 0.5e9
        await until(lambda: len(cluster.audit("joined")) == 2, "the node does not join again")
