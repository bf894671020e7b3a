"""One load through one proxy: runs the client and turns what it printed into a Sample.

Guarantees that a sample with numbers is of a run without any failed call; everything else is LoadFailed. CPU time is
that of all the proxy's threads, taken by the client itself as its interval begins and ends; memory is the proportional
set size (/proc/<pid>/smaps_rollup) before the streams are opened and when they have been idle for a second.
"""

import asyncio
import itertools
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

from agentring.cli.local.child import tie_to_parent
from benchmarks.router.contention import Contention
from benchmarks.router.errors import BenchError, LoadFailed
from benchmarks.router.loads import IDLE_STREAMS, LOADS, Load, Unit
from benchmarks.router.proxies import Running

_GRACE_S = 90.0
_SETTLE_S = 1.0
_KIB = 1024.0

_runs = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of one load through one proxy came to. None: this load does not measure it."""

    proxy: str
    load: str
    cpu_us: float | None = None
    """The proxy's, for one of the load's units."""
    units_per_s: float | None = None
    events_per_s: float | None = None
    calls_per_s: float | None = None
    proxy_busy: float | None = None
    """Of its one core."""
    client_busy: float | None = None
    """Of the core it shares with the nodes."""
    p50_us: float | None = None
    p99_us: float | None = None
    memory_kib: float | None = None
    """For one stream."""
    memory_base_mib: float | None = None
    """Before the streams were opened."""
    contention: float | None = None
    """What others than the proxy used of its core."""
    failure: str | None = None
    """Why there is no number at all."""


async def measure(
    client: Path, load: Load, proxy: str, running: Running, *, core: int, seconds: float, warm_s: float
) -> Sample:
    """Runs the load; `core` is the proxy's. Raises LoadFailed. Cancellation: the client is killed."""
    if load.unit is Unit.STREAM:
        return await _measure_memory(client, load, proxy, running)
    contention = Contention(core, running.child.pid if running.child else None)
    async with _client(client, load, running, seconds=seconds, warm_s=warm_s) as process:
        figures = await _line(process, seconds + warm_s + _GRACE_S)
        share = contention.share()
    elapsed_s, events, calls = figures["seconds"], figures["events"], figures["calls"]
    units = calls if load.unit is Unit.CALL else events
    if not units:
        raise LoadFailed("no call ended in the measured interval")
    timed = figures["p50_us"] > 0
    return Sample(
        proxy,
        load.name,
        cpu_us=figures["cpu_s"] * 1e6 / units if running.child else None,
        units_per_s=units / elapsed_s,
        events_per_s=events / elapsed_s,
        calls_per_s=calls / elapsed_s if calls else None,
        proxy_busy=figures["cpu_s"] / elapsed_s if running.child else None,
        client_busy=figures["client_cpu_s"] / elapsed_s,
        p50_us=figures["p50_us"] if timed else None,
        p99_us=figures["p99_us"] if timed else None,
        contention=share,
    )


async def _measure_memory(client: Path, load: Load, proxy: str, running: Running) -> Sample:
    assert running.child is not None  # the direct way has no memory, and is not asked
    # What is loaded, made or cached at the first calls belongs to no stream.
    async with _client(client, LOADS["pingpong-1"], running, seconds=0.3, warm_s=0.2) as process:
        await _line(process, _GRACE_S)
    await asyncio.sleep(_SETTLE_S)
    before = _memory_bytes(running.child.pid)
    async with _client(client, load, running, seconds=0, warm_s=0) as process:
        await _line(process, _GRACE_S)
        await asyncio.sleep(_SETTLE_S)
        after = _memory_bytes(running.child.pid)
        assert process.stdin is not None
        process.stdin.close()
        await _line(process, _GRACE_S)  # none of them ended meanwhile
    return Sample(
        proxy, load.name, memory_kib=(after - before) / _KIB / IDLE_STREAMS, memory_base_mib=before / _KIB / _KIB
    )


@asynccontextmanager
async def _client(
    program: Path, load: Load, running: Running, *, seconds: float, warm_s: float
) -> AsyncIterator[Process]:
    flags = {
        **load.flags,
        "port": str(running.port),
        "seconds": f"{seconds:g}",
        "warm-s": f"{warm_s:g}",
        "pids": str(running.child.pid) if running.child else "",
        "run": f"{os.getpid()}.{next(_runs)}",
    }
    command = [str(program), *(word for name, value in flags.items() for word in (f"--{name}", value))]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, preexec_fn=tie_to_parent(SIGKILL))
    try:
        yield process
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _line(process: Process, timeout_s: float) -> dict[str, Any]:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(timeout_s):
            line = await process.stdout.readline()
    except TimeoutError:
        raise LoadFailed(f"the client told nothing within {timeout_s:g} s") from None
    if not line:
        raise LoadFailed("the client ended without a word")
    figures: dict[str, Any] = json.loads(line)
    if figures["failed"]:
        raise LoadFailed(f"{figures['failed']} failed, the first: {figures['first_failure']}")
    return figures


def _memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/{pid}/smaps_rollup has no Pss")
