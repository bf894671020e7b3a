"""`scripts/bench_claims`: claims a second, grouped and one by one, and how soon a failed node's sessions are claimed.

How to run it:

    scripts/bench_claims                     # about half a minute
    scripts/bench_claims --runs 1 --claims 1000
    scripts/bench_claims --users             # claims at an etcd that checks who calls, and at one that does not

What it does: starts an etcd and registers nodes with it, which claim through the node's own code (Claims) on the
nodes' own event loop. In each run first one node claims so many sessions, that many at a time, in groups, then another
one as many, each in a transaction of its own, and then a third one as many in groups, of which somebody else holds
every tenth. Last, a node with --sessions sessions loses its lease, and another one claims them all.

What the numbers mean: claims/s are those of one process, client and etcd on the same machine, the median of the runs
and the lowest and highest; the ratio is of medians. `contested`: refusals count like claims. With --users the two etcds
have their turns one after the other; CPU is the client's and etcd's together, and the ratios are of sums over all runs.

Exit status: 0 with --users; else 0 if grouped claims were at least 5 times as many and the failed node's sessions
claimed within 1.5 s.
"""

import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from agentring import log
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.group_commit import MAX_GROUP
from agentring.ids import parse_session
from benchmarks.claims.claiming import claim_all, registered
from benchmarks.claims.users import compare, sentence
from benchmarks.router.stand import spawn

MIN_RATIO = 5.0
MAX_TAKE_OVER_S = 1.5
_STATISTICS: dict[str, Callable[[list[float]], float]] = {"median": statistics.median, "min": min, "max": max}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def bench(
    runs: Annotated[int, typer.Option(min=1, help="How often both have their turn.")] = 5,
    claims: Annotated[int, typer.Option(min=1, help="Claims in one turn.")] = 5_000,
    concurrency: Annotated[int, typer.Option(min=1, help="Claims at a time.")] = 256,
    sessions: Annotated[int, typer.Option(min=1, help="Of the node that fails.")] = 10_000,
    users: Annotated[
        bool, typer.Option("--users", help="Claims as a user of etcd's that may do no more, beside claims as nobody.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    log.configure("error" if users else "warning")
    gc.freeze()  # as nodes do
    if users:
        compared = uvloop.run(compare(runs, claims, concurrency))
        print(json.dumps(compared, indent=1) if as_json else sentence(compared))
        return
    rates, take_over_s = uvloop.run(_measure(runs, claims, concurrency, sessions))
    found = {f"{kind}_{name}": of(each) for kind, each in rates.items() for name, of in _STATISTICS.items()}
    found["ratio"] = found["grouped_median"] / found["single_median"]
    found |= {"take_over_s": take_over_s, "load": os.getloadavg()[0]}
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        shown = [
            f"{kind} {found[f'{kind}_median']:,.0f} ({found[f'{kind}_min']:,.0f} to {found[f'{kind}_max']:,.0f})"
            for kind in rates
        ]
        Console(highlight=False, soft_wrap=True).print(
            f"claims/s, {concurrency} at a time: {', '.join(shown)}; ratio of grouped to single {found['ratio']:.1f}\n"
            f"{sessions:,} sessions of a failed node: {take_over_s:.2f} s; load average {found['load']:.1f}"
        )
    sys.exit(0 if found["ratio"] >= MIN_RATIO and found["take_over_s"] < MAX_TAKE_OVER_S else 1)


async def _measure(runs: int, claims: int, concurrency: int, sessions: int) -> tuple[dict[str, list[float]], float]:
    """Claims a second by kind, run by run; and the seconds of the taking over."""
    with tempfile.TemporaryDirectory(prefix="agentring-claiming-") as directory:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            data_dir = DataDir(Path(directory))
            stack.enter_context(data_dir.locked())
            url = (await start_etcd(data_dir, lambda spec: spawn(stack, spec))).url
            etcd = await stack.enter_async_context(EtcdClient([url]))
            rates: dict[str, list[float]] = {"grouped": [], "single": [], "contested": []}
            for run in range(runs):
                for kind, found in rates.items():
                    node, other = [await registered(etcd, f"{name}-{run}-{kind}") for name in ("node", "other")]
                    refs = [parse_session("", f"s-{run}-{kind}-{index}") for index in range(claims)]
                    if kind == "contested":
                        await claim_all(etcd, tasks, other, refs[::10], concurrency, MAX_GROUP)
                    spent_s = await claim_all(
                        etcd, tasks, node, refs, concurrency, 1 if kind == "single" else MAX_GROUP
                    )
                    found.append(claims / spent_s)
                    await node.lease.revoke()
                    await other.lease.revoke()
            refs = [parse_session("", f"s-{index}") for index in range(sessions)]
            failed, heir = await registered(etcd, "failed"), await registered(etcd, "heir")
            await claim_all(etcd, tasks, failed, refs, concurrency, MAX_GROUP)
            await failed.lease.revoke(timeout_s=30.0)
            return rates, await claim_all(etcd, tasks, heir, refs, sessions, MAX_GROUP)


if __name__ == "__main__":
    app()
