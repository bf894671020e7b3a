"""One load on one system: runs the client, and says what each process took.

A sample with numbers is of a run without any failed turn. CPU time is user and system time of all threads, taken by the
client itself as its interval begins and ends.
"""

import asyncio
import itertools
import json
import os
import statistics
import tempfile
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

from agentring.cli.errors import CommandError
from agentring.cli.local.child import tie_to_parent
from benchmarks.router.build import Tools
from benchmarks.turns.disk import fsync_ms
from benchmarks.turns.loads import Load
from benchmarks.turns.quiet import until_quiet
from benchmarks.turns.systems import Running, System

_GRACE_S = 90.0
_runs = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one load on one system."""

    system: str
    load: str
    turns_per_s: float = 0.0
    cpu_ms: float = 0.0
    """Of all the system's processes, for one turn."""
    cpu_ms_by_kind: dict[str, float] | None = None
    """The same by what the processes are: node, router, etcd, postgres, handler, envoy."""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    client_busy: float = 0.0
    """Of one core: where it is near 1 the client is the limit."""
    client_ms: float = 0.0
    """Its own CPU time, for one turn."""
    fsync_ms: float = 0.0
    """What the disk took to keep a page just before."""
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    systems: tuple[System, ...]
    loads: tuple[Load, ...]
    runs: int
    seconds: float
    warm_s: float
    profile: Path | None = None


async def run(plan: Plan, tools: Tools, progress: Callable[[Sample, int], None]) -> list[Sample]:
    """Every sample; system after system, again and again. One that cannot be started has failed in every load."""
    samples: list[Sample] = []

    def take(number: int, sample: Sample) -> None:
        samples.append(sample)
        progress(sample, number)

    for number in range(1, plan.runs + 1):
        for system in plan.systems:
            try:
                await _run_system(plan, tools.client, system, partial(take, number))
            except CommandError as error:
                for load in plan.loads:
                    take(number, Sample(system.name, load.name, failure=str(error)))
    return samples


async def _run_system(plan: Plan, client: Path, system: System, take: Callable[[Sample], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="turnbench-") as name:
        async with system.running(Path(name), plan.profile) as running:
            for load in plan.loads:
                await until_quiet(running.processes.values())
                disk_ms = await asyncio.to_thread(fsync_ms, Path(name))
                sample = await _measured(plan, client, system, running, load)
                take(replace(sample, fsync_ms=disk_ms))


async def _measured(plan: Plan, client: Path, system: System, running: Running, load: Load) -> Sample:
    flags = {
        **load.flags,
        "port": str(running.port),
        "seconds": f"{plan.seconds:g}",
        "warm-s": f"{plan.warm_s:g}",
        "pids": ",".join(map(str, running.processes.values())),
        "run": f"{os.getpid()}.{next(_runs)}",
    }
    command = [str(client), *(word for name, value in flags.items() for word in (f"--{name}", value))]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, preexec_fn=tie_to_parent(SIGKILL))
    try:
        async with asyncio.timeout(plan.seconds + plan.warm_s + _GRACE_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        return Sample(system.name, load.name, failure="the client did not end in time")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not printed:
        return Sample(system.name, load.name, failure="the client ended without a word")
    return _sample(system, running, load, json.loads(printed))


def _sample(system: System, running: Running, load: Load, measured: dict[str, Any]) -> Sample:
    if measured["failed"] or not measured["calls"]:
        why = f"{measured['failed']} failed, the first: {measured['first_failure']}"
        return Sample(system.name, load.name, failure=why)
    turns = measured["calls"]
    kinds: Counter[str] = Counter()
    for name, cpu_s in zip(running.processes, measured["cpus_s"], strict=True):
        kinds[_kind(name)] += cpu_s * 1000 / turns
    return Sample(
        system.name,
        load.name,
        turns_per_s=turns / measured["seconds"],
        cpu_ms=measured["cpu_s"] * 1000 / turns,
        cpu_ms_by_kind=dict(kinds),
        p50_ms=measured["p50_us"] / 1000,
        p99_ms=measured["p99_us"] / 1000,
        client_busy=measured["client_cpu_s"] / measured["seconds"],
        client_ms=measured["client_cpu_s"] * 1000 / turns,
    )


def _kind(process: str) -> str:
    name = process.rstrip("0123456789")
    return "node" if name == "n" else name


def median_of(samples: Sequence[Sample], system: str, load: str) -> Sample | None:
    """The medians of a system's runs of a load; None: it has none that did not fail."""
    own = [each for each in samples if (each.system, each.load) == (system, load) and each.failure is None]
    if not own:
        return None
    kinds = {
        kind: statistics.median((each.cpu_ms_by_kind or {}).get(kind, 0.0) for each in own)
        for kind in own[0].cpu_ms_by_kind or {}
    }
    middle = {
        name: statistics.median(getattr(each, name) for each in own)
        for name in ("turns_per_s", "cpu_ms", "p50_ms", "p99_ms", "client_busy", "client_ms", "fsync_ms")
    }
    return Sample(system, load, cpu_ms_by_kind=kinds, **middle)
