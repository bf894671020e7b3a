"""`scripts/bench_merging`: what a node saves by merging the events that come while a response is being written.

How to run it (Linux, two cores, taskset):

    scripts/bench_merging                                 # medians of 5 alternating runs, about 5 minutes
    scripts/bench_merging --runs 1 --seconds 1            # what can be seen at a glance
    scripts/bench_merging --merge-bytes 4096              # another bound

What it does: starts an etcd, then in turn a node as it is (`merging`) and one with --merge-bytes 0 (`without`), alone
on one core and fresh in each run. A client on the other core streams turns of the agent `echo` from it, without a
router between. Every text is checked to the last byte and every number of its event log; one that is wrong ends
the bench.

The loads: `fast` has turns of many tokens, one after the other, as fast as they go; `paced` has sessions whose tokens
come at a steady rate, as a language model's do; `crowded` has several times as many of those, up to what one node can
carry and beyond.

What the numbers mean:
  * an event is a number of the event log: ten tokens that come in one merged event are ten events;
  * node CPU µs/event: user and system time of the node's process in the measured interval, divided by the events that
    came in it, the agent's own work included;
  * p50 and p99: how late an event came, counted from when the agent should have made it; where the node or the client
    is at its limit, this grows for as long as the load goes on;
  * node and client: the shares of their cores. Where the client's is near 100 %, it was the limit: it is in Python too,
    and has as much work with a response as the node.

Exit status: 0 if everything was measured; 1 if anything failed; 2 for arguments that cannot be meant; 130 after Ctrl-C.
The report goes to stdout, the progress to stderr.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console

from agent_node.events.entries import READ_BYTES
from agentring.cli.errors import CommandError
from benchmarks.merging.errors import BenchError
from benchmarks.merging.loads import loads_of
from benchmarks.merging.report import as_json, print_report, rows_of
from benchmarks.merging.run import Plan, Sample, Variant, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    sessions: Annotated[int, typer.Option(min=1, help="How many stream at the same time.")] = 100,
    tokens: Annotated[int, typer.Option(min=1, max=50_000, help="In a turn of `fast`.")] = 2_000,
    rate: Annotated[float, typer.Option(min=0.1, help="Tokens per second of a session in `paced`.")] = 50.0,
    crowd: Annotated[int, typer.Option(min=1, help="How many times the sessions `crowded` has.")] = 4,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load is measured.")] = 4.0,
    warm_s: Annotated[float, typer.Option(min=0.1, help="How long it runs before that.")] = 2.0,
    runs: Annotated[int, typer.Option(min=1, help="How often both nodes have their turn.")] = 5,
    merge_bytes: Annotated[int, typer.Option(min=1, help="The bound of the node that merges.")] = READ_BYTES,
    load_names: Annotated[
        str | None, typer.Option("--loads", help="Of fast,paced,crowded.", show_default="all")
    ] = None,
    json_only: Annotated[bool, typer.Option("--json", help="JSON to stdout, the tables to stderr.")] = False,
    node_core: Annotated[int, typer.Option(help="The core of the node.")] = 0,
    load_core: Annotated[int, typer.Option(help="The core of everything else.")] = 1,
) -> None:
    """Measures a node's CPU per event, throughput and latency with merging and without."""
    if node_core == load_core:
        raise typer.BadParameter("the node needs a core of its own: --node-core and --load-core are the same")
    known = {load.name: load for load in loads_of(sessions, tokens, rate, crowd, warm_s + seconds)}
    names = list(known) if load_names is None else load_names.split(",")
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"--loads: there is no {name!r}; there are {', '.join(known)}")
    loads = tuple(known[name] for name in dict.fromkeys(names))
    variants = (Variant("merging", merge_bytes), Variant("without", 0))
    plan = Plan(variants, loads, runs, seconds, warm_s, node_core, load_core)
    about = {
        "cores": os.cpu_count(),
        "load average": round(os.getloadavg()[0], 2),
        "merge bytes": merge_bytes,
        "runs": runs,
        "seconds": seconds,
    }
    try:
        samples = asyncio.run(_run_until_signal(plan))
    except (BenchError, CommandError) as error:
        print(f"bench_merging: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    rows = rows_of(samples)
    console = Console(stderr=json_only)
    if not console.is_terminal:
        console.width = 140
    print_report(console, about, loads, samples, rows)
    if json_only:
        print(json.dumps(as_json(about, loads, samples, rows), indent=1))


async def _run_until_signal(plan: Plan) -> list[Sample]:
    def report(sample: Sample, number: int) -> None:
        late = "" if sample.p99_ms is None else f", p99 {sample.p99_ms:.1f} ms"
        print(
            f"run {number}/{plan.runs}  {sample.variant:8} {sample.load:8} {sample.cpu_us:.1f} µs, "
            f"{sample.events_per_s:,.0f} events/s, {sample.events_per_response:.1f} a response{late}",
            file=sys.stderr,
        )

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(plan, report)


if __name__ == "__main__":
    app()
