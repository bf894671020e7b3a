"""The table of events, row by row, with real processes: what befalls nodes and routers; and the two that have no row, a
node that is stuck, and a lease that an operator revokes. What befalls etcd itself: test_events_of_etcd.py.

What is promised to whoever owns a session, to whoever wants a new one, and what health and metrics say.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from agent_node.lifecycle.watchdog import EXIT_LOOP_STUCK
from agentring.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)
from events_table import F_S, TTL_S, cluster_on, link_to, logged, measured, refused_by
from harness.agents import FLAGS
from harness.client import connect, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster, until_sees
from harness.conditions import is_healthy, metrics, until, until_state
from harness.etcd import EtcdProcess
from harness.etcd_faults import revoke_leases


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
            received = [progress.done async for progress in stub.Drain(node_pb2.DrainRequest(), timeout=10)]
        assert received[-1]
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
                for name, received in zip(theirs, after, strict=True):
                    assert received.node == "n1"
                    assert received.epoch > before[name].epoch
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
        received = await run_turn(channel, "s", turn(seconds=2), agent="blocking")
        assert received.text == "begundone"
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
