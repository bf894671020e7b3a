"""A store that is replaced or taken away while nodes have it open, and one that is not the cluster's at their start."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from agentring.rpc.status import read_error
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.conditions import is_healthy
from harness.processes import Process

PATIENCE_S = 20.0


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """Two nodes on one file."""
    return make_cluster(nodes=2)


def store_of(cluster: Cluster) -> Path:
    return cluster.directory / "store.db"


def copied(store: Path) -> Path:
    there = store.with_name("copy.db")
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(there)) as target:
        source.backup(target)
    return there


async def until_healthy(cluster: Cluster, healthy: bool) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for node in cluster.nodes.values():
            while await is_healthy(node.address) is not healthy:  # noqa: ASYNC110  the event is in other processes
                await asyncio.sleep(0.05)


async def answered(channel: grpc.aio.Channel) -> None:
    """Returns once a new session's turn completes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await run_turn(channel, f"s-{uuid.uuid4().hex}", turn(tokens=1))
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017  any other fails at once
                await asyncio.sleep(0.1)
            else:
                return


def forget_store(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentring.cli", "admin", "forget-store"]
    flags = [f"--etcd={cluster.etcd_url}", f"--cluster={cluster.name}"]
    return subprocess.run([*command, *flags], check=False, capture_output=True, text=True)


def refusal(node: Process) -> str:
    """The last line of a node that does not start."""
    status = node.wait()
    node.stop()
    assert status == 1
    printed = node.log.read_text()
    assert "Traceback" not in printed
    return printed.splitlines()[-1]


async def test_a_copy_put_in_its_place_under_load_acknowledges_nothing_and_is_refused_until_accepted(
    cluster: Cluster,
) -> None:
    replaced = asyncio.Event()
    late: list[str] = []
    reasons: set[str] = set()

    async def client(number: int, channel: grpc.aio.Channel) -> None:
        for count in range(10_000):
            sent_after = replaced.is_set()
            try:
                await run_turn(channel, f"s{number}", turn(tokens=1))
            except grpc.RpcError as error:
                reasons.add(read_error(error).reason)
                if sent_after and count:
                    return
                await asyncio.sleep(0.01)
            else:
                late.extend([f"s{number}"] if sent_after else [])

    async with connect(cluster.router) as channel:
        async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as clients:
            for number in range(8):
                clients.create_task(client(number, channel))
            await cluster.until_audited("turn_committed", 20)
            there = await asyncio.to_thread(copied, store_of(cluster))
            there.replace(store_of(cluster))
            replaced.set()
        assert late == []
        await cluster.until_audited("fenced", 2)
        await until_healthy(cluster, healthy=False)
        assert {line["reason"] for line in cluster.audit("fenced")} == {"STORE_REPLACED"}
        assert "INTERNAL" not in reasons
        for node in cluster.nodes.values():
            node.process.stop(signal.SIGTERM)
        assert "nodes have found the store replaced" in await asyncio.to_thread(refusal, cluster.spawn_node("n3"))
        forgotten = await asyncio.to_thread(forget_store, cluster)
        assert forgotten.returncode == 0, forgotten.stderr
        await asyncio.to_thread(cluster.start_node, "n1")
        await answered(channel)
        assert (await asyncio.to_thread(forget_store, cluster)).returncode == 1  # a node is there


async def test_a_node_restarted_on_the_copy_does_not_join_beside_those_that_have_the_first_open(
    cluster: Cluster,
) -> None:
    cluster.nodes["n2"].process.stop(signal.SIGKILL)
    there = await asyncio.to_thread(copied, store_of(cluster))
    there.replace(store_of(cluster))
    printed = await asyncio.to_thread(refusal, cluster.spawn_node("n2"))
    assert "store" in printed
    await cluster.until_audited("fenced", 1)
    assert cluster.audit("fenced")[0]["reason"] == "STORE_REPLACED"


async def test_a_directory_that_is_moved_away_and_back_is_gone_on_with(cluster: Cluster) -> None:
    async with connect(cluster.router) as channel:
        await answered(channel)
        away = cluster.directory.with_name("away")
        for end in ("", "-wal", "-shm"):
            store_of(cluster).with_name(f"store.db{end}").rename(away.with_name(f"away{end}"))
        await cluster.until_audited("fenced", 2)  # though nobody asks for anything
        await until_healthy(cluster, healthy=False)
        for end in ("", "-wal", "-shm"):
            away.with_name(f"away{end}").rename(store_of(cluster).with_name(f"store.db{end}"))
        await until_healthy(cluster, healthy=True)
        await answered(channel)


async def test_an_empty_or_older_store_is_refused_after_a_stop_of_all_nodes(cluster: Cluster) -> None:
    store = store_of(cluster)
    async with connect(cluster.router) as channel:
        await answered(channel)
        older = await asyncio.to_thread(copied, store)
        await answered(channel)
    await asyncio.sleep(2.5)  # the store's clock goes on meanwhile
    for node in cluster.nodes.values():
        node.process.stop(signal.SIGTERM)
    kept = store.rename(store.with_name("kept.db"))
    assert "the cluster has kept its sessions in the store" in await asyncio.to_thread(
        refusal, cluster.spawn_node("n1")
    )
    older.rename(store)
    assert "an older copy" in await asyncio.to_thread(refusal, cluster.spawn_node("n1"))
    kept.rename(store)
    await asyncio.to_thread(cluster.start_node, "n1")
    async with connect(cluster.router) as channel:
        await answered(channel)
