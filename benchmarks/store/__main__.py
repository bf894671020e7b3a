"""`scripts/bench_store`: turns a second and the time of a turn, on a durable store and on the one in memory.

How to run it:

    scripts/bench_store                        # 5 rounds, about two minutes
    scripts/bench_store --rounds 1 --turns 5
    scripts/bench_store --store postgresql+psycopg://user:password@host/database

What it does: starts etcd and two clusters of two nodes and a router, one with the durable store and one with
`memory:`. In every round each gets the same load, one after the other and in turn first: 200 sessions at once, each
turn of `echo` with 20 tokens following the last one; then few turns, 20 a second of 10 sessions, due at fixed times.
What counts is the ratio within a round; the median of the rounds is given with its range.

Exit status: 0 if the median of turns/s is at least half of the store in memory's and the median of what a durable turn
takes longer at low load is under 5 ms; else 1, also where a turn failed.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.load.plan import Plan
from benchmarks.load.report import Report
from benchmarks.load.run import run_load
from harness.cluster import Cluster
from harness.etcd import EtcdProcess

_LEAST_RATIO, _MOST_MORE_MS = 0.5, 5.0
_SESSIONS = 200
_FEW_SESSIONS, _FEW_RATE = 10, 20.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Round:
    """Both stores under the same load, one after the other."""

    memory_turns_per_s: float
    durable_turns_per_s: float
    memory_p50_ms: float
    durable_p50_ms: float

    @property
    def ratio(self) -> float:
        """Durable turns/s for one of the store in memory."""
        return self.durable_turns_per_s / self.memory_turns_per_s

    @property
    def more_ms(self) -> float:
        """What a durable turn takes longer at low load."""
        return self.durable_p50_ms - self.memory_p50_ms


class TurnsFailed(Exception):
    """A round in which not every turn completed says nothing."""


@app.command(help=__doc__)
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 5,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each session.")] = 20,
    store: Annotated[str, typer.Option(help="The durable one's --store; empty: an SQLite file.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    with tempfile.TemporaryDirectory(prefix="agentring-store-") as directory:
        etcd = EtcdProcess(Path(directory))
        try:
            found = asyncio.run(measure(etcd.url, Path(directory), rounds=rounds, turns=turns, store=store))
        except TurnsFailed as failed:
            print(failed, file=sys.stderr)
            sys.exit(1)
        finally:
            etcd.stop()
    if as_json:
        print(json.dumps([asdict(each) | {"ratio": each.ratio, "more_ms": each.more_ms} for each in found], indent=1))
    else:
        Console(highlight=False, soft_wrap=True).print(to_text(found) + f"\nload average {os.getloadavg()[0]:.1f}")
    good = median(each.ratio for each in found) >= _LEAST_RATIO
    sys.exit(0 if good and median(each.more_ms for each in found) < _MOST_MORE_MS else 1)


async def measure(etcd_url: str, directory: Path, *, rounds: int, turns: int, store: str) -> list[Round]:
    """Runs all of it in an empty directory. Raises TurnsFailed."""
    flags = {"memory": ("--store=memory:",), "durable": (f"--store={store}",) if store else ()}
    clusters: dict[str, Cluster] = {}
    try:
        for kind in flags:
            (directory / kind).mkdir()
            clusters[kind] = Cluster(etcd_url, directory / kind, lease_ttl_s=10)
            await asyncio.to_thread(clusters[kind].start, nodes=2, flags=flags[kind])
        for kind in flags:
            await _load(clusters[kind], Plan(sessions=_SESSIONS, concurrency=_SESSIONS, turns=2, session_prefix="warm"))
        return [await _round(clusters, number, turns) for number in range(rounds)]
    finally:
        for cluster in clusters.values():
            await asyncio.to_thread(cluster.stop)


async def _round(clusters: dict[str, Cluster], number: int, turns: int) -> Round:
    order = sorted(clusters, reverse=number % 2 == 1)
    many = Plan(sessions=_SESSIONS, concurrency=_SESSIONS, turns=turns, session_prefix=f"many-{number}")
    few = Plan(
        sessions=_FEW_SESSIONS,
        concurrency=_FEW_SESSIONS,
        turns=turns,
        rate=_FEW_RATE,
        session_prefix=f"few-{number}",
    )
    per_s = {kind: (await _load(clusters[kind], many)).turns_per_s for kind in order}
    p50_ms = {kind: (await _load(clusters[kind], few)).turn_ms.p50 or 0.0 for kind in order}
    return Round(per_s["memory"], per_s["durable"], p50_ms["memory"], p50_ms["durable"])


async def _load(cluster: Cluster, plan: Plan) -> Report:
    report = await run_load(plan, [cluster.router], 4, Console(stderr=True, quiet=True))
    if not report.ok:
        raise TurnsFailed(f"of {plan.turns_planned} turns {report.turns_completed} completed: {report.errors}")
    return report


def to_text(found: Sequence[Round]) -> str:
    """The figures for people."""

    def spread(figures: list[float], digits: int) -> str:
        return f"{median(figures):.{digits}f} ({min(figures):.{digits}f} to {max(figures):.{digits}f})"

    return (
        f"turns/s of {_SESSIONS} sessions, median and range of {len(found)} rounds: durable "
        f"{spread([each.durable_turns_per_s for each in found], 0)}, in memory "
        f"{spread([each.memory_turns_per_s for each in found], 0)}, ratio {spread([each.ratio for each in found], 2)}\n"
        f"a turn at low load, p50 in ms: durable {spread([each.durable_p50_ms for each in found], 1)}, in memory "
        f"{spread([each.memory_p50_ms for each in found], 1)}, more {spread([each.more_ms for each in found], 1)}"
    )


if __name__ == "__main__":
    app()
