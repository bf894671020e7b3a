"""`scripts/bench_halt`: everything is halted while turns run; when does the last step start?

How to run it:

    scripts/bench_halt                                   # about a minute
    scripts/bench_halt --rounds 20 --sessions 16
    scripts/bench_halt --hold --json

What it does: starts etcd, nodes on one SQLite file and a router. In every round turns run in all sessions, which begin
a step every 20 ms; once each of them has begun ten, it asks for what runs (as `agentring ps`), halts everything, waits
a second, looks which steps have been begun since, and resumes.

What the numbers mean: `confirmed` is the time from the call to its answer, after which no node begins anything; `last
start` that from the call to the last step that a node has begun, each node and round for itself, 0 where it has begun
none; `late` counts the steps that were begun 0.5 s after the call or later, or on a node after it had confirmed. `ps`
is the time until all that runs has been listed.

Exit status: 0 if p99 of both is under 0.5 s, none was late, every node confirmed every halt, and every list was whole
and took less than a second; else 1.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from grpc import aio
from rich.console import Console

from agentring.v1 import halt_pb2, halt_pb2_grpc
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.etcd import EtcdProcess

_EVERYTHING = halt_pb2.HaltScope(kind=halt_pb2.HALT_KIND_ALL)
_STOPS_WITHIN_S, _LISTS_WITHIN_S = 0.5, 1.0
_LOOKS_S = 1.0
_WARM_STEPS = 10
"""Of each session before the halt."""
_STARTS_S = 60.0
_WORDS = (("p50", 50), ("p99", 99), ("at most", 100))
_RUNNING: set["asyncio.Future[None]"] = set()
"""Callers whose turns have not ended."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(slots=True)
class Found:
    """All rounds."""

    confirmed_s: list[float] = field(default_factory=list)
    last_start_s: list[float] = field(default_factory=list)
    list_s: list[float] = field(default_factory=list)
    late: int = 0
    unconfirmed: int = 0
    not_listed: int = 0

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        in_time = max(percentile(self.confirmed_s, 99), percentile(self.last_start_s, 99)) < _STOPS_WITHIN_S
        return in_time and max(self.list_s) < _LISTS_WITHIN_S and not (self.late or self.unconfirmed or self.not_listed)

    def as_json(self) -> dict[str, Any]:
        """With the load that the machine had."""
        times = {"confirmed": self.confirmed_s, "last_start": self.last_start_s, "ps": self.list_s}
        return {
            **{f"{name}_p{p}_s": percentile(of, p) for name, of in times.items() for p in (50, 99, 100)},
            "late": self.late,
            "unconfirmed": self.unconfirmed,
            "not_listed": self.not_listed,
            "rounds": len(self.confirmed_s),
            "load": os.getloadavg()[0],
            "passed": self.passed,
        }


def percentile(of: list[float], percent: int) -> float:
    """The smallest that so many percent are at most."""
    return sorted(of)[max(0, -(-len(of) * percent // 100) - 1)]


@app.command(help=__doc__)
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is halted.")] = 100,
    sessions: Annotated[int, typer.Option(min=1, help="With a turn each.")] = 32,
    nodes: Annotated[int, typer.Option(min=1, help="Of the cluster.")] = 3,
    hold: Annotated[bool, typer.Option("--hold", help="Hold what runs, and do not cancel it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    found = asyncio.run(_measure(rounds, sessions, nodes, hold=hold))
    if as_json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        said = found.as_json()
        console = Console(highlight=False, soft_wrap=True)
        for name in ("confirmed", "last_start", "ps"):
            times = ", ".join(f"{word} {1000 * said[f'{name}_p{p}_s']:.0f} ms" for word, p in _WORDS)
            console.print(f"{name.replace('_', ' '):10} {times}")
        console.print(f"{found.late} late, {found.unconfirmed} not confirmed; load average {said['load']:.1f}")
    sys.exit(0 if found.passed else 1)


async def _measure(rounds: int, sessions: int, nodes: int, *, hold: bool) -> Found:
    found = Found()
    with tempfile.TemporaryDirectory(prefix="agentring-halt-") as directory:
        etcd = await asyncio.to_thread(EtcdProcess, Path(directory))
        cluster = Cluster(etcd.url, Path(directory))
        flags = ("--agent=stepping=benchmarks.halt.agent:stepping", f"--store=sqlite:///{directory}/store.db")
        try:
            await asyncio.to_thread(cluster.start, nodes=nodes, flags=flags)
            async with connect(cluster.router) as channel:
                for number in range(rounds):
                    # Held turns go on when they are resumed; others are begun anew.
                    names = [f"s{number}-{index}" for index in range(sessions)] if number == 0 or not hold else []
                    await _round(found, cluster, channel, names, sessions, hold=hold)
        finally:
            cluster.stop()
            etcd.stop()
    return found


async def _round(
    found: Found, cluster: Cluster, channel: aio.Channel, names: list[str], sessions: int, *, hold: bool
) -> None:
    for name in names:
        _RUNNING.add(running := asyncio.ensure_future(_run(channel, name)))
        running.add_done_callback(_RUNNING.discard)
    before = cluster.audit_file.stat().st_size
    async with asyncio.timeout(_STARTS_S):
        while len(_warm(cluster, before)) < sessions:  # noqa: ASYNC110  it is in other processes
            await asyncio.sleep(0.05)
    stub = halt_pb2_grpc.HaltServiceStub(channel)
    began_s = time.perf_counter()
    listed = 0
    async for page in stub.ListRunning(halt_pb2.ListRunningRequest(), timeout=10):
        listed += len(page.running)
    found.list_s.append(time.perf_counter() - began_s)
    found.not_listed += sessions - listed

    asked_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    answer = await stub.Halt(halt_pb2.HaltRequest(scope=_EVERYTHING, hold=hold), timeout=10)
    confirmed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    await asyncio.sleep(_LOOKS_S)
    found.confirmed_s.append((confirmed_ns - asked_ns) / 1e9)
    found.unconfirmed += len(answer.unconfirmed)
    begun = _begun(cluster, before, "node")
    for node in cluster.nodes:
        late_s = [(t_ns - asked_ns) / 1e9 for t_ns in begun.get(node, ()) if t_ns > asked_ns]
        found.last_start_s.append(max(late_s, default=0.0))
        found.late += sum(each_s > min(_STOPS_WITHIN_S, found.confirmed_s[-1]) for each_s in late_s)
    await stub.Resume(halt_pb2.ResumeRequest(scope=_EVERYTHING), timeout=10)


async def _run(channel: aio.Channel, name: str) -> None:
    with suppress(aio.AioRpcError):
        await run_turn(channel, name, turn("go"), agent="stepping")


def _warm(cluster: Cluster, offset: int) -> list[str]:
    return [name for name, begun in _begun(cluster, offset, "session").items() if len(begun) >= _WARM_STEPS]


def _begun(cluster: Cluster, offset: int, by: str) -> dict[str, list[int]]:
    """When steps were begun, by a field of the audit log's lines after an offset."""
    found: dict[str, list[int]] = {}
    with cluster.audit_file.open() as lines:
        lines.seek(offset)
        for text in lines:
            if text.endswith("\n") and (line := json.loads(text))["event"] == "step_begun":
                found.setdefault(line[by], []).append(line["t_ns"])
    return found


if __name__ == "__main__":
    app()
