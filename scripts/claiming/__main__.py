"""`scripts/bench_claims`: claims a second, grouped and one by one, and how soon a failed node's sessions are claimed.

How to run it:

    scripts/bench_claims                     # about half a minute
    scripts/bench_claims --runs 1 --claims 1000

What it does: starts an etcd and registers nodes with it, which claim through the node's own code (Claims). In each run
first one node claims so many sessions, that many at a time, in groups, and then another one as many, each in a
transaction of its own. Last, a node with --sessions sessions loses its lease, and another one claims them all.

What the numbers mean: claims/s are those of one process, client and etcd on the same machine; the ratio is of medians.

Exit status: 0 if grouped claims were at least 5 times as many and the failed node's sessions claimed within 1.5 s.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentring import log
from agentring.cli.data_dir import DataDir
from agentring.cli.embedded_etcd import start_etcd
from agentring.cluster.claim import Claims
from agentring.cluster.clock import BootClock
from agentring.cluster.etcd import EtcdClient
from agentring.cluster.group_commit import MAX_GROUP
from agentring.cluster.keys import Keys
from agentring.cluster.registration import NodeIdentity, Registration, join
from agentring.ids import NodeId, SessionRef, parse_session
from scripts.routerbench.stand import spawn

MIN_RATIO = 5.0
MAX_TAKE_OVER_S = 1.5
_KEYS = Keys("claiming")
_LEASE_TTL_S = 600
"""Longer than the bench, so that nobody need renew."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def bench(
    runs: Annotated[int, typer.Option(min=1, help="How often both have their turn.")] = 5,
    claims: Annotated[int, typer.Option(min=1, help="Claims in one turn.")] = 5_000,
    concurrency: Annotated[int, typer.Option(min=1, help="Claims at a time.")] = 256,
    sessions: Annotated[int, typer.Option(min=1, help="Of the node that fails.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    log.configure("warning")
    found = asyncio.run(_measure(runs, claims, concurrency, sessions))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        Console(highlight=False).print(
            f"{concurrency} at a time: grouped {found['grouped']:,.0f} claims/s, one by one {found['single']:,.0f}, "
            f"ratio {found['ratio']:.1f}\n{sessions:,} sessions of a failed node: {found['take_over_s']:.2f} s"
        )
    sys.exit(0 if found["ratio"] >= MIN_RATIO and found["take_over_s"] < MAX_TAKE_OVER_S else 1)


async def _measure(runs: int, claims: int, concurrency: int, sessions: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="agentring-claiming-") as directory:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            data_dir = DataDir(Path(directory))
            stack.enter_context(data_dir.locked())
            url = (await start_etcd(data_dir, lambda spec: spawn(stack, spec))).url
            etcd = await stack.enter_async_context(EtcdClient([url]))
            rates: dict[int, list[float]] = {MAX_GROUP: [], 1: []}
            for run in range(runs):
                for max_group, found in rates.items():
                    node = await _registered(etcd, f"node-{run}-{max_group}")
                    refs = [parse_session("", f"s-{run}-{max_group}-{index}") for index in range(claims)]
                    spent_s = await _claim(etcd, tasks, node, refs, concurrency, max_group)
                    found.append(claims / spent_s)
                    await node.lease.revoke()
            refs = [parse_session("", f"s-{index}") for index in range(sessions)]
            failed, heir = await _registered(etcd, "failed"), await _registered(etcd, "heir")
            await _claim(etcd, tasks, failed, refs, concurrency, MAX_GROUP)
            await failed.lease.revoke(timeout_s=30.0)
            take_over_s = await _claim(etcd, tasks, heir, refs, sessions, MAX_GROUP)
    grouped, single = statistics.median(rates[MAX_GROUP]), statistics.median(rates[1])
    return {"grouped": grouped, "single": single, "ratio": grouped / single, "take_over_s": take_over_s}


async def _registered(etcd: EtcdClient, name: str) -> Registration:
    identity = NodeIdentity(NodeId(name), "127.0.0.1:1", frozenset({"echo"}), 1, {}, boot_id="", data_uuid="")
    return await join(etcd, _KEYS, BootClock(), identity, ttl_s=_LEASE_TTL_S, timeout_s=0)


async def _claim(
    etcd: EtcdClient,
    tasks: asyncio.TaskGroup,
    node: Registration,
    refs: Sequence[SessionRef],
    concurrency: int,
    max_group: int,
) -> float:
    """Seconds for claiming them all."""
    claims = Claims(etcd, _KEYS, node, tasks, timeout_s=10.0, max_group=max_group)
    waiting = iter(refs)

    async def work() -> None:
        for ref in waiting:
            await claims.claim(ref)

    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return time.perf_counter() - began_s


if __name__ == "__main__":
    app()
