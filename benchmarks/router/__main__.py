"""`scripts/bench_router`: what a router costs, beside Envoy, haproxy and nginx, in one run on the same load.

How to run it (Linux, two cores, g++; haproxy and nginx take part where they are installed):

    scripts/bench_router                                  # everything: medians of 5 alternating runs, about 20 minutes
    scripts/bench_router --quick                          # one short run: what can be seen at a glance
    scripts/bench_router --quick --proxies router,envoy --loads pingpong-1,calls-1
    scripts/bench_router --router-command 'other=env PYTHONPATH=/path/to/checkout .venv/bin/python -P -m router'
    scripts/bench_router --profile router.prof --loads calls-1    # then: python -m pstats router.prof

`router` is what a user installs, the wheel with its data plane compiled; `interpreted` is the same from the sources.

What it does: starts two made-up nodes (native/node.cc) and an etcd in which they are registered, then one proxy at a
time, alone on one core. A client (native/client.cc), which shares the other core with the nodes, speaks Converse with
them through the proxy. Neither is the bottleneck: `direct` shows what they do without a proxy. Every answer is checked;
a load with one failed call counts as failed and has no numbers.

What the numbers mean:
  * CPU µs: user and system time of the proxy's process, divided by the round trips, tokens or calls of the measured
    interval; ÷ Envoy: the same divided by Envoy's, so less than 1 is less work. `busy` is the proxy's share of its
    core; where it is below about 90 % in a load that goes as fast as it can, the other core was the limit.
  * added latency, in `low` and `moderate`: percentile through the proxy minus percentile of the direct way, counted
    from when a message was due, whether or not the one before was answered.
  * KiB/idle stream: growth of the process's memory by 5,000 streams that were routed, answered once and left open.

Exit status: 0 if everything was measured, whether or not the targets at the end are met; 1 if anything failed; 2 for
arguments that cannot be meant; 130 after Ctrl-C. The report goes to stdout, the progress to stderr.
"""

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentring.cli.errors import CommandError
from agentring.cluster.etcd.errors import EtcdError
from benchmarks.router import machine, proxies
from benchmarks.router.build import Tools, build
from benchmarks.router.compare import rows_of, targets_of
from benchmarks.router.errors import BenchError
from benchmarks.router.loads import LOADS, Load
from benchmarks.router.measure import Sample
from benchmarks.router.report import as_json, print_report
from benchmarks.router.run import Plan, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_NAMED = re.compile(r"([a-z][a-z0-9_-]*)=(.+)")


@app.command()
def bench(
    runs: Annotated[int, typer.Option(min=1, help="How often every proxy has its turn.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load is measured.")] = 3.0,
    warm_s: Annotated[float, typer.Option(min=0.0, help="How long it runs before that.")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="1 run, 1 s each, 0.5 s before.")] = False,
    proxy_names: Annotated[
        str | None,
        typer.Option("--proxies", help=f"Of {','.join(proxies.KNOWN)}.", show_default="those that are installed"),
    ] = None,
    load_names: Annotated[
        str | None, typer.Option("--loads", help=f"Of {','.join(LOADS)}.", show_default="all")
    ] = None,
    router_command: Annotated[
        list[str] | None,
        typer.Option(
            help="How the router is started (--listen, --etcd and --cluster are added); NAME=COMMAND: a further one."
        ),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Run the interpreted router alone, once, and cProfile it.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the results there; - for stdout.")
    ] = None,
    proxy_core: Annotated[int, typer.Option(help="The core of the proxies.")] = 0,
    load_core: Annotated[int, typer.Option(help="The core of everything else.")] = 1,
) -> None:
    """Measures CPU per event and per call, throughput, added latency and memory of the router and other proxies."""
    if quick:
        runs, seconds, warm_s = 1, 1.0, 0.5
    if profile is not None:
        runs, proxy_names = 1, proxies.INTERPRETED
    if proxy_core == load_core:
        raise typer.BadParameter("the proxy needs a core of its own: --proxy-core and --load-core are the same")
    loads = _chosen_loads(load_names)
    try:
        tools = build()
        chosen = _chosen_proxies(proxy_names, router_command or [])
        if profile is not None:
            chosen = tuple(proxies.profiled(proxy, profile.resolve()) for proxy in chosen)
        plan = Plan(chosen, loads, runs, seconds, warm_s, proxy_core, load_core)
        samples = asyncio.run(_run_until_signal(plan, tools))
    except (BenchError, CommandError, EtcdError) as error:
        print(f"bench_router: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    rows = rows_of(samples)
    targets = targets_of(rows, [p.name for p in chosen if p.is_router and p.name != proxies.INTERPRETED])
    about = {**machine.describe(chosen), "runs": runs, "seconds": seconds}
    to_stdout = str(json_path) == "-"
    console = Console(stderr=to_stdout)
    if not console.is_terminal:
        console.width = 140
    print_report(console, about, samples, rows, targets)
    if json_path is not None:
        text = json.dumps(as_json(about, samples, rows, targets), indent=1)
        if to_stdout:
            print(text)
        else:
            json_path.write_text(text + "\n")
    if any(sample.failure for sample in samples):
        raise typer.Exit(1)


def _chosen_loads(names: str | None) -> tuple[Load, ...]:
    if names is None:
        return tuple(LOADS.values())
    unknown = [name for name in names.split(",") if name not in LOADS]
    if unknown:
        raise typer.BadParameter(f"--loads: there is no {unknown[0]!r}; there are {', '.join(LOADS)}")
    return tuple(LOADS[name] for name in names.split(","))


def _chosen_proxies(names: str | None, router_commands: list[str]) -> tuple[proxies.Proxy, ...]:
    commands = {}
    for text in router_commands:
        named = _NAMED.fullmatch(text)
        commands[named[1] if named else proxies.ROUTER] = named[2] if named else text
    wanted = list(proxies.KNOWN) if names is None else names.split(",")
    wanted[1:1] = [name for name in commands if name not in wanted and name != proxies.ROUTER]
    chosen = []
    for name in wanted:
        proxy = proxies.router_of(name, commands[name]) if name in commands else proxies.find(name)
        if proxy is not None:
            chosen.append(proxy)
        elif names is not None:
            raise BenchError(f"{name} is not installed")
        else:
            print(f"{name} is not installed: left out", file=sys.stderr)
    return tuple(chosen)


async def _run_until_signal(plan: Plan, tools: Tools) -> list[Sample]:
    def report(sample: Sample, number: int) -> None:
        units = LOADS[sample.load].unit
        numbers = [
            *([f"FAILED: {sample.failure}"] if sample.failure else []),
            *([f"{sample.cpu_us:.2f} µs"] if sample.cpu_us is not None else []),
            *([f"{sample.units_per_s:,.0f} {units}s/s"] if sample.units_per_s is not None else []),
            *([f"p99 {sample.p99_us:.0f} µs"] if sample.p99_us is not None else []),
            *([f"{sample.memory_kib:.2f} KiB/{units}"] if sample.memory_kib is not None else []),
        ]
        print(f"run {number}/{plan.runs}  {sample.proxy:10} {sample.load:13} {', '.join(numbers)}", file=sys.stderr)

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(plan, tools, report)


if __name__ == "__main__":
    app()
