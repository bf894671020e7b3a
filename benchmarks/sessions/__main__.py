"""`scripts/bench_sessions`: memory of an idle activated session, and activation of passivated ones.

How to run it:

    scripts/bench_sessions                     # 100,000 passivated sessions, about a minute
    scripts/bench_sessions --stored 1000 --activations 100 --idle 500

What it does: starts etcd and a node with an SQLite store. Some sessions take a turn of 20 tokens each, and then
nothing: what the node's resident memory (/proc/PID/smaps_rollup, Rss) grows by, shared out among them, is the memory
of an idle activated session; as many before them have warmed the node up. Then one session takes three turns, its node
is stopped, and its rows are copied under new ids until the store has as many as asked for. A node that starts on it
activates some of them, at random, one after the other: the time from a Converse call with `open` to the node's word
that it has taken the call is an activation (a claim in etcd, a raised epoch, a read; gRPC's way to and fro is in it).
Then as many again, 64 at a time.

Exit status: 0 if a session takes 20 KiB at most and the median of activations is under 10 ms; else 1.
"""

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.sessions.run import Figures, measure
from harness.etcd import EtcdProcess

_MOST_KIB, _MOST_P50_MS = 20.0, 10.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def bench(
    stored: Annotated[int, typer.Option(min=1, help="Passivated sessions in the store.")] = 100_000,
    activations: Annotated[int, typer.Option(min=1, help="How many of them are activated, twice.")] = 1_000,
    idle: Annotated[int, typer.Option(min=1, help="Idle sessions whose memory is measured.")] = 5_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    with tempfile.TemporaryDirectory(prefix="agentring-sessions-") as directory:
        etcd = EtcdProcess(Path(directory))
        try:
            found = asyncio.run(measure(etcd.url, Path(directory), stored=stored, activations=activations, idle=idle))
        finally:
            etcd.stop()
    if as_json:
        print(json.dumps(asdict(found) | {"load": os.getloadavg()[0]}, indent=1))
    else:
        Console(highlight=False, soft_wrap=True).print(to_text(found) + f"\nload average {os.getloadavg()[0]:.1f}")
    sys.exit(0 if found.idle_kib <= _MOST_KIB and found.p50_ms < _MOST_P50_MS else 1)


def to_text(found: Figures) -> str:
    """The figures for people."""
    return (
        f"memory of an idle activated session: {found.idle_kib:.1f} KiB (of {found.idle:,})\n"
        f"{found.stored:,} passivated sessions in {found.store_mib:.0f} MiB of SQLite\n"
        f"activation one by one: p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms (of {found.activations:,})\n"
        f"64 at a time: {found.activations_per_s:,.0f}/s"
    )


if __name__ == "__main__":
    app()
