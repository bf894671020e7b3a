"""`scripts/bench_ring`: what the ring costs at 10, 100 and 1,000 nodes, and how soon a join reaches the routers.

How to run it:

    scripts/bench_ring                       # about a minute
    scripts/bench_ring --sizes 10,50 --joins 20

What the numbers mean:
  * build: the median time of building a ring; routers do it on a thread of its own, one for each snapshot;
  * look-up: finding the first candidate of a key;
  * stall: the longest that a task which wakes up every millisecond was late while a ring was built on another thread:
    what a rebuild costs whoever routes meanwhile;
  * max/mean: the largest share of keys, by the mean;
  * joins: from the answer to a node's registration until it stood on the ring of every router; all in one process.

Exit status: 0 if every join took less than a second, else 1.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agentring import log
from benchmarks.ring.joins import join_times_s
from benchmarks.ring.rings import RingCost, cost_of

MAX_JOIN_S = 1.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    sizes: Annotated[str, typer.Option(help="Nodes on the ring, separated by commas.")] = "10,100,1000",
    joins: Annotated[int, typer.Option(min=1, help="How many nodes join.")] = 100,
    routers: Annotated[int, typer.Option(min=1, help="How many routers watch.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the ring's costs and how soon a join reaches it."""
    log.configure("warning")
    costs = [asyncio.run(cost_of(int(size))) for size in sizes.split(",")]
    times_s = sorted(asyncio.run(join_times_s(joins, routers)))
    if as_json:
        print(json.dumps({"rings": [asdict(cost) for cost in costs], "join_s": times_s}, indent=2))
    else:
        _print(costs, times_s, routers)
    sys.exit(0 if times_s[-1] < MAX_JOIN_S else 1)


def _print(costs: list[RingCost], times_s: list[float], routers: int) -> None:
    table = Table("nodes", "build ms", "look-up µs", "stall ms", "max/mean")
    for cost in costs:
        numbers = (cost.build_ms, cost.lookup_us, cost.stall_ms, cost.max_over_mean)
        table.add_row(str(cost.nodes), *(f"{number:.2f}" for number in numbers))
    console = Console(highlight=False)
    console.print(table)
    median_s = times_s[len(times_s) // 2]
    console.print(
        f"{len(times_s)} joins, on the rings of {routers} routers after: "
        f"median {median_s * 1e3:.1f} ms, longest {times_s[-1] * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    app()
