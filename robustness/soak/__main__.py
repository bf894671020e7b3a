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
import random
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agentring.client import connect
from agentring.errors import SessionNotFound
from harness import client as harness
from harness.cluster import Cluster
from robustness.soak import judge
from robustness.soak.client import ClientRecord, Script, Talk, raw, with_client
from robustness.soak.cluster import disturbed_cluster
from robustness.soak.disturbance import DISTURBANCES, Disturbances

CHANNELS = 8
SHOWN = 10
"""Of each kind of fault."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def soak(
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
        found = asyncio.run(_run(script, sessions, disturb, every, clients, store, ttl, seed, directory))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    sys.exit(1 if any(found[kind] for kind in ("lost", "told_wrongly", "twice", "broken", "complaints")) else 0)


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found['sessions']} sessions, {found['turns']} turns in {found['took_s']:.0f} s, {found['disturbed']} times "
        f"disturbed, {found['restarted']} turns restarted; a turn took p50 {found['p50_s']:.2f} s, "
        f"p99 {found['p99_s']:.2f} s, at most {found['max_s']:.2f} s"
    )
    for kind in ("lost", "told_wrongly", "twice", "broken", "complaints"):
        console.print(f"{kind.replace('_', ' ')}: {len(found[kind])}")
        for line in found[kind][:SHOWN]:
            console.print(f"  {line}")


async def _run(
    script: Script,
    sessions: int,
    disturb: str,
    every_s: float,
    clients: str,
    store: str,
    ttl: int,
    seed: int,
    directory: Path,
) -> dict[str, Any]:
    names = [f"soak-{number}" for number in range(sessions)]
    async with disturbed_cluster(store, ttl, directory) as (cluster, node_flags):
        how = Disturbances(every_s, node_flags, random.Random(seed))
        begun_s = asyncio.get_running_loop().time()
        async with AsyncExitStack() as stack:
            talk = await _talk(stack, cluster, clients, script, random.Random(seed))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(DISTURBANCES[disturb](cluster, how))
                records = await asyncio.gather(*(talk(name) for name in names))
                how.over.set()
        took_s = asyncio.get_running_loop().time() - begun_s
        counted = await _counted(cluster, names)
        twice = judge.twice(cluster.audit("turn_committed"))
    return _found(script, records, counted, twice, how, took_s)


def _found(
    script: Script,
    records: list[ClientRecord],
    counted: dict[str, int],
    twice: list[str],
    how: Disturbances,
    took_s: float,
) -> dict[str, Any]:
    waits_s = sorted(wait_s for each in records for wait_s in each.waits_s) or [float("nan")]
    return {
        "sessions": len(records),
        "turns": sum(len(each.events.completed) for each in records),
        "took_s": took_s,
        "disturbed": how.done,
        "restarted": sum(each.events.restarts for each in records),
        "p50_s": waits_s[len(waits_s) // 2],
        "p99_s": waits_s[int(len(waits_s) * 0.99)],
        "max_s": waits_s[-1],
        "lost": judge.lost(script, records, counted),
        "told_wrongly": [f"{each.session_id}: {fault}" for each in records for fault in each.events.faults],
        "twice": twice,
        "broken": [f"{each.session_id}: {each.broken}" for each in records if each.broken],
        "complaints": how.complaints,
    }


async def _talk(stack: AsyncExitStack, cluster: Cluster, clients: str, script: Script, drawn: random.Random) -> Talk:
    routers = [member.address for member in cluster.routers.values()]
    if clients == "sdk":
        return with_client(await stack.enter_async_context(connect(",".join(routers))), script, drawn)
    addresses = [routers[number % len(routers)] for number in range(CHANNELS)]
    return raw([await stack.enter_async_context(harness.connect(address)) for address in addresses], script, drawn)


async def _counted(cluster: Cluster, names: list[str]) -> dict[str, int]:
    """How many completed turns each session has."""
    counted = dict.fromkeys(names, 0)
    async with connect(cluster.router) as ring:
        for name in names:
            with suppress(SessionNotFound):
                counted[name] = (await ring.session(name).get()).turns_completed
    return counted


if __name__ == "__main__":
    app()
