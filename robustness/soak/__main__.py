"""`scripts/soak`: many sessions speak while nodes are killed, or nodes and routers are rolled; is a turn ever lost?

How to run it:

    scripts/soak                                       # 1,000 sessions of 10 turns, a node killed every 5 s: 4 minutes
    scripts/soak --store postgresql                    # on a PostgreSQL of its own
    scripts/soak --disturb roll --client sdk           # SIGTERM to every node and router, one by one
    scripts/soak --sessions 50 --turns 2               # a short one

What it does: starts etcd, three nodes and two routers as processes; each session has one client with one stream, which
sends its next turn when the one before has ended. `raw` clients use the generated stubs and never open a second stream;
`sdk` ones use agentring.client. Every client's events are checked one by one: no number missing or twice, every turn
completed once and in order, its words byte for byte those of the attempt that completed. At the end the store is asked
how many turns it has, and the nodes' audit log whether one was committed twice.

What the numbers mean: `restarted` counts `attempt_restarted` events, `p50`, `p99` and `max` are a turn's time from its
sending to its end.

Exit status: 0 if nothing was lost, told wrongly, run twice or broken; 1 if something was.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from robustness.soak.client import Script
from robustness.soak.disturbance import DISTURBANCES
from robustness.soak.turns import FAULTS, soak

SHOWN = 10
"""Of each kind of fault."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    sessions: Annotated[int, typer.Option(min=1, help="How many, all at once.")] = 1000,
    turns: Annotated[int, typer.Option(min=1, help="Of each session.")] = 10,
    tokens: Annotated[int, typer.Option(min=1, help="Of each turn.")] = 20,
    rate: Annotated[float, typer.Option(min=0.1, help="Tokens per second.")] = 20.0,
    pause: Annotated[float, typer.Option(min=0, help="The longest time between two turns, in seconds.")] = 20.0,
    disturb: Annotated[str, typer.Option(help=f"One of {', '.join(DISTURBANCES)}.")] = "kill",
    every: Annotated[float, typer.Option(min=1, help="Seconds from one disturbance to the next.")] = 5.0,
    clients: Annotated[str, typer.Option("--client", help="raw or sdk.")] = "raw",
    store: Annotated[str, typer.Option(help="sqlite, postgresql (one of its own), or the nodes' --store.")] = "sqlite",
    ttl: Annotated[int, typer.Option(min=2, help="The nodes' lease TTL in seconds.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the clients' pauses.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    if disturb not in DISTURBANCES or clients not in ("raw", "sdk"):
        raise typer.BadParameter(f"--disturb is one of {', '.join(DISTURBANCES)}, --client is raw or sdk")
    script = Script(turns, tokens, rate, pause)
    with tempfile.TemporaryDirectory(prefix="agentring-soak-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL runs as another user, in a directory of its own
        found = asyncio.run(soak(script, sessions, disturb, every, clients, store, ttl, seed, directory))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    sys.exit(1 if any(found[kind] for kind in FAULTS) else 0)


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found['sessions']} sessions, {found['turns']} turns in {found['took_s']:.0f} s, {found['disturbed']} times "
        f"disturbed, {found['restarted']} turns restarted; a turn took p50 {found['p50_s']:.2f} s, "
        f"p99 {found['p99_s']:.2f} s, at most {found['max_s']:.2f} s"
    )
    for kind in FAULTS:
        console.print(f"{kind.replace('_', ' ')}: {len(found[kind])}")
        for line in found[kind][:SHOWN]:
            console.print(f"  {line}")


if __name__ == "__main__":
    app()
