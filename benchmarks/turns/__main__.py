"""`scripts/bench_turns`: what a turn costs, beside Envoy in front of bare gRPC handlers.

    scripts/bench_turns                                  # everything: medians of 3 alternating runs, half an hour
    scripts/bench_turns --quick --systems memory,envoy+grpc.aio --loads run-turn-1,run-turn-64
    scripts/bench_turns --checkout before=/path/to/checkout --systems sqlite,sqlite@before,envoy+grpc.aio
    scripts/bench_turns --systems memory-interpreted --loads run-turn-64 --profile node.prof
    python -m pstats node.prof

Three nodes, one router and etcd on this machine; or three bare handlers of grpc.aio behind Envoy's ring hash, which
keep nothing. A turn: 50 bytes in, 20 pieces of text out, a counter and the last ten inputs as its state. The client is
native and checks that every turn was completed. A load with one failed turn has no numbers.

CPU ms: user and system time of all the system's processes for one turn, PostgreSQL's too, and by what they are. ÷: the
number before it divided by the yardstick's of the same load in the same run; Converse and idle streams are handlers of
its own, too. client ms is the client's own CPU time for a turn, busy its share of one core: where that is near 100 % it
was the limit. An fsync: the median of some appends of a page before each load. --checkout adds a table with what has
changed since. Exit status: 0 if everything was measured, 1 if anything failed, 2 for arguments that cannot be meant.
"""

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agentring.cli.errors import CommandError
from benchmarks.router.build import build
from benchmarks.router.errors import BenchError
from benchmarks.turns.loads import LOADS, Load
from benchmarks.turns.measure import Plan, Sample, run
from benchmarks.turns.report import print_checkout, print_load
from benchmarks.turns.systems import STORES, YARDSTICK, System, find

_DEFAULT = (YARDSTICK, *STORES, *(f"{store}-interpreted" for store in STORES))

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    runs: Annotated[int | None, typer.Option(min=1, help="How often every system has its turn: 3.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long each load is measured: 4.")] = None,
    warm_s: Annotated[float | None, typer.Option(min=0.0, help="How long it runs before that: 1.5.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Where nothing else is said: 1 run, 1.5 s each, 0.7 s before.")
    ] = False,
    system_names: Annotated[
        str, typer.Option("--systems", help="STORE[-interpreted][@CHECKOUT], or the yardstick.")
    ] = (",".join(_DEFAULT)),
    load_names: Annotated[str, typer.Option("--loads")] = ",".join(LOADS),
    checkout: Annotated[
        list[str] | None, typer.Option(help="NAME=DIRECTORY: another checkout, after its own scripts/compile.")
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="Run once, with the first node under cProfile.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the results there.")] = None,
) -> None:
    """Measures turns a second, CPU time a turn by process, and latency."""
    if profile is not None and runs not in (None, 1):
        raise typer.BadParameter("--profile goes with one run")
    sources = _sources(checkout or [])
    systems = _systems(system_names.split(","), sources)
    loads = _loads(load_names.split(","))
    runs = runs or (1 if quick or profile is not None else 3)
    seconds = seconds or (1.5 if quick else 4.0)
    warm_s = (0.7 if quick else 1.5) if warm_s is None else warm_s
    plan = Plan(systems, loads, runs, seconds, warm_s, profile.resolve() if profile is not None else None)
    try:
        samples = asyncio.run(_run(plan))
    except (BenchError, CommandError) as error:
        print(f"bench_turns: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    for load in loads:
        print_load(load, systems, samples)
    for name in sources:
        print_checkout(name, loads, systems, samples)
    if json_path is not None:
        json_path.write_text(json.dumps([asdict(sample) for sample in samples], indent=1) + "\n")
    if any(sample.failure for sample in samples):
        raise typer.Exit(1)


def _sources(checkouts: list[str]) -> dict[str, Path]:
    sources = {name: Path(path).resolve() for name, _, path in (each.partition("=") for each in checkouts)}
    for name, path in sources.items():
        if not (path / "agent_node").is_dir():
            raise typer.BadParameter(f"--checkout: {name}={path} is no checkout of agentring")
    return sources


def _systems(names: list[str], sources: dict[str, Path]) -> tuple[System, ...]:
    found = []
    for name in names:
        system = find(name, sources)
        if system is not None:
            found.append(system)
        elif name in _DEFAULT:
            print(f"{name}: PostgreSQL is not installed: left out", file=sys.stderr)
        else:
            raise typer.BadParameter(f"--systems: there is no {name!r}; there are {', '.join(_DEFAULT)}")
    return tuple(found)


def _loads(names: list[str]) -> tuple[Load, ...]:
    if unknown := [name for name in names if name not in LOADS]:
        raise typer.BadParameter(f"--loads: there is no {unknown[0]!r}; there are {', '.join(LOADS)}")
    return tuple(LOADS[name] for name in names)


async def _run(plan: Plan) -> list[Sample]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    tools = await asyncio.to_thread(build)
    return await run(plan, tools, lambda sample, number: _print_sample(sample, number, plan.runs))


def _print_sample(sample: Sample, number: int, runs: int) -> None:
    what = sample.failure or f"{sample.turns_per_s:,.0f} turns/s, {sample.cpu_ms:.2f} ms, p50 {sample.p50_ms:.2f} ms"
    print(f"run {number}/{runs}  {sample.system:20} {sample.load:16} {what}", file=sys.stderr)


if __name__ == "__main__":
    app()
