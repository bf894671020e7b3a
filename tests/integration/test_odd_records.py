"""Records in etcd that no node of ours wrote so, in a running cluster: the sessions go on, and every command tells the
truth about them."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.ids import NodeId, parse_session
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc
from harness.client import connect, run_turn_until_answered, turn
from harness.cluster import Cluster

TTL_S = 2
WITHIN_S = 10.0


async def test_a_killed_nodes_claims_without_a_lease_or_sense_go_to_others_and_its_turn_is_run(
    make_cluster: Callable[..., Cluster],
) -> None:
    """`kept`'s record is put again without its lease, `torn`'s is no JSON; in both a turn was accepted. Nobody asks for
    `unasked` any more."""
    cluster = make_cluster(nodes=2, lease_ttl_s=TTL_S)
    keys = Keys(cluster.name)
    names = [f"{kind}-{index}" for kind in ("kept", "torn", "unasked") for index in range(6)]
    async with connect(cluster.router) as channel, EtcdClient([cluster.etcd_url]) as etcd:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        for name in names:
            request = session_pb2.SubmitTurnRequest(session_id=name, agent="echo", turn=turn(tokens=100, rate=20))
            await stub.SubmitTurn(request, timeout=10)
        await cluster.until_audited("turn_started", len(names))
        (victim, *_) = [line["node"] for line in cluster.audit("claimed")]
        lost = {line["session"] for line in cluster.audit("claimed") if line["node"] == victim}
        for name in lost:
            held = await etcd.get(keys.claim(parse_session("", name)))
            assert held is not None
            await etcd.txn([], [Put(held.key, b"not json" if name.startswith("torn") else held.value, 0)])
        cluster.nodes[victim].process.stop(signal.SIGKILL)
        survivor = next(name for name in cluster.nodes if name != victim)
        asked = sorted(name for name in lost if not name.startswith("unasked"))
        for name in asked:
            after = await run_turn_until_answered(channel, name, turn("go on"), WITHIN_S)
            assert after.node == survivor
        await cluster.until_audited("turn_committed", len(names) + len(asked))
    ended = {line["session"] for line in cluster.audit("turn_committed")}
    assert ended == set(names)
    taken = cluster.nodes[survivor].process.log.read_text().count('"claim_taken_over"')
    assert taken == len(lost)


@pytest.mark.parametrize("value", [b"\xff not json", b""])
async def test_locate_tells_of_a_record_that_cannot_be_read(make_cluster: Callable[..., Cluster], value: bytes) -> None:
    cluster = make_cluster(nodes=1, lease_ttl_s=TTL_S)
    async with connect(cluster.router) as channel, EtcdClient([cluster.etcd_url]) as etcd:
        await etcd.txn([], [Put(Keys(cluster.name).claim(parse_session("", "s")), value, 0)])
        locate = cluster_pb2.LocateSessionRequest(session_id="s", agent="echo")
        stub = cluster_pb2_grpc.ClusterServiceStub(channel)
        found = await stub.LocateSession(locate, timeout=5)
        assert (found.node_id, found.epoch) == ("", 0)
        assert f"of {len(value)} bytes, cannot be read; it has no lease, and whoever is asked next" in found.why
        received = await run_turn_until_answered(channel, "s", turn("hi"), WITHIN_S)
        assert received.node == "n1"
        assert (await stub.LocateSession(locate, timeout=5)).why == "n1 holds the claim"


async def test_a_nodes_altered_record_ends_neither_it_nor_its_sessions(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, lease_ttl_s=TTL_S)
    key = Keys(cluster.name).node(NodeId("n1"))
    async with connect(cluster.router) as channel, EtcdClient([cluster.etcd_url]) as etcd:
        before = await run_turn_until_answered(channel, "s", turn("hi"), WITHIN_S)
        for value in (b"not json", b""):
            await etcd.txn([], [Put(key, value, 0)])
            async with asyncio.timeout(WITHIN_S):
                while not ((held := await etcd.get(key)) is not None and held.lease_id):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        after = await run_turn_until_answered(channel, "s", turn("hi"), WITHIN_S)
    assert (after.node, after.epoch) == (before.node, before.epoch)
    assert len(cluster.audit("joined")) == 1
