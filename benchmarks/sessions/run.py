"""The measurements, on a cluster of the tests' own: one node, asked without a router."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from grpc import aio

import agent_node.store.sql.session_events  # noqa: F401  its table is copied, too
from agent_node.store.sql.session_schema import metadata
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster

_AT_ONCE = 64
_TOKENS = 20
_PATTERN = "pattern"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    idle: int
    idle_kib: float
    stored: int
    store_mib: float
    activations: int
    p50_ms: float
    p99_ms: float
    activations_per_s: float


async def measure(etcd_url: str, directory: Path, *, stored: int, activations: int, idle: int) -> Figures:
    """Runs all of it in an empty directory."""
    cluster = Cluster(etcd_url, directory, lease_ttl_s=10)
    try:
        await asyncio.to_thread(cluster.start_node, "n1")
        async with connect(cluster.nodes["n1"].address) as channel:
            idle_kib = await _idle_kib(cluster, channel, idle)
            for _ in range(3):
                await run_turn(channel, _PATTERN, turn(tokens=_TOKENS))
        await asyncio.to_thread(cluster.nodes["n1"].process.stop)
        store = directory / "store.db"
        await asyncio.to_thread(fill, store, stored)
        await asyncio.to_thread(cluster.start_node, "n2")
        async with connect(cluster.nodes["n2"].address) as channel:
            names = iter(random.sample([f"stored-{number}" for number in range(stored)], min(stored, 2 * activations)))
            one_by_one = list(islice(names, min(activations, (stored + 1) // 2)))
            took_ms = sorted([await _activate(channel, name) for name in one_by_one])
            together = list(names)
            began_s = time.perf_counter()
            await _each(together, lambda name: _activate(channel, name))
            took_s = time.perf_counter() - began_s
        return Figures(
            idle=idle,
            idle_kib=idle_kib,
            stored=stored,
            store_mib=store.stat().st_size / (1 << 20),
            activations=len(took_ms),
            p50_ms=took_ms[len(took_ms) // 2],
            p99_ms=took_ms[int(len(took_ms) * 0.99)],
            activations_per_s=len(together) / took_s,
        )
    finally:
        cluster.stop()


def fill(store: Path, sessions: int) -> None:
    """Copies the pattern's rows until there are so many sessions `stored-<number>`. Nobody else may use the store."""
    with closing(sqlite3.connect(store)) as database, database:
        for table in metadata.sorted_tables:
            if "session_id" not in table.columns:
                continue
            columns = ", ".join(column.name for column in table.columns)
            copied = columns.replace("session_id", "'stored-' || copy")
            database.execute(
                "WITH RECURSIVE copies(copy) AS (SELECT 0 UNION ALL SELECT copy + 1 FROM copies LIMIT ?) "  # noqa: S608
                f"INSERT INTO {table.name} ({columns}) SELECT {copied} FROM {table.name}, copies WHERE session_id = ?",
                (sessions, _PATTERN),
            )


async def _idle_kib(cluster: Cluster, channel: aio.Channel, sessions: int) -> float:
    """What each of so many idle sessions adds to the node's resident memory."""
    pid = cluster.nodes["n1"].process.pid
    await _use(channel, (f"warm-{number}" for number in range(sessions)))
    before_kib = _resident_kib(pid)
    await _use(channel, (f"idle-{number}" for number in range(sessions)))
    return (_resident_kib(pid) - before_kib) / sessions


async def _use(channel: aio.Channel, names: Iterable[str]) -> None:
    async def work(name: str) -> None:
        ended = await run_turn(channel, name, turn(tokens=_TOKENS))
        assert ended.result == {"tokens": _TOKENS}

    await _each(names, work)


async def _each(names: Iterable[str], work: Callable[[str], Awaitable[object]]) -> None:
    """A few at a time."""
    left = iter(names)

    async def take() -> None:
        for name in left:
            await work(name)

    await asyncio.gather(*(take() for _ in range(_AT_ONCE)))


async def _activate(channel: aio.Channel, name: str) -> float:
    """Opens a stream to the session; how many ms it took until the node had taken the call."""
    call = session_pb2_grpc.SessionServiceStub(channel).Converse(timeout=30)
    began_s = time.perf_counter()
    await call.write(session_pb2.ConverseRequest(open=session_pb2.Open(session_id=name, agent="echo")))
    headers = dict(await call.initial_metadata())
    took_ms = (time.perf_counter() - began_s) * 1e3
    assert "x-agentring-epoch" in headers
    call.cancel()
    return took_ms


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise AssertionError
