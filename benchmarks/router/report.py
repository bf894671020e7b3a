"""The end of a bench: tables for people, JSON for machines. Called by __main__."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.router.compare import Row, Target
from benchmarks.router.loads import LATENCY_LOADS, LOADS, Load, Unit
from benchmarks.router.measure import Sample
from benchmarks.router.proxies import ENVOY

_MOST_CONTENTION = 0.05


def as_json(
    machine: dict[str, Any], samples: Sequence[Sample], rows: Sequence[Row], targets: Sequence[Target]
) -> dict[str, Any]:
    """Everything that was measured, as json.dumps takes it."""
    return {
        "machine": machine,
        "loads": {row.load: LOADS[row.load].about for row in rows},
        "rows": [asdict(row) for row in rows],
        "targets": [asdict(target) for target in targets],
        "samples": [asdict(sample) for sample in samples],
    }


def print_report(
    console: Console,
    machine: dict[str, Any],
    samples: Sequence[Sample],
    rows: Sequence[Row],
    targets: Sequence[Target],
) -> None:
    """A table for each load, then the targets, then what failed."""
    console.print(", ".join(f"{name}: {value}" for name, value in machine.items()), style="dim", highlight=False)
    for load in LOADS.values():
        own = [row for row in rows if row.load == load.name]
        if own:
            console.print(f"\n[bold]{load.name}[/]  {load.about}", highlight=False)
            console.print(_memory_table(own) if load.unit is Unit.STREAM else _time_table(load, own))
    if targets:
        console.print()
        console.print(_targets_table(targets))
    disturbed = max((sample.contention or 0.0 for sample in samples), default=0.0)
    if disturbed > _MOST_CONTENTION:
        console.print(
            f"[yellow]other processes used up to {disturbed:.0%} of the proxies' core during a load: measure again on "
            "a quiet machine"
        )
    for sample in samples:
        if sample.failure:
            console.print(f"[bold red]FAILED[/] {sample.load} through {sample.proxy}: {escape(sample.failure)}")


def _time_table(load: Load, rows: Sequence[Row]) -> Table:
    added = load.name in LATENCY_LOADS
    latency = ["p50 µs", "p99 µs", *(["added p50", "added p99"] if added else [])]
    table = _table("", f"CPU µs/{load.unit}", "least-most", "÷ Envoy", f"{load.unit}s/s", "÷ Envoy", "busy", *latency)
    for row in rows:
        cpu = row.metrics.get("cpu_us")
        table.add_row(
            row.proxy,
            _number(row.value("cpu_us")),
            f"{_number(cpu.least)}-{_number(cpu.most)}" if cpu else "",
            _ratio(row, "cpu_us"),
            _number(row.value("units_per_s")),
            _ratio(row, "units_per_s") if load.saturates else "",
            "" if (busy := row.value("proxy_busy")) is None else f"{busy:.0%}",
            _number(row.value("p50_us")),
            _number(row.value("p99_us")),
            *((_number(row.added_p50_us), _number(row.added_p99_us)) if added else ()),
        )
    return table


def _memory_table(rows: Sequence[Row]) -> Table:
    table = _table("", "KiB/idle stream", "least-most", "÷ Envoy", "MiB before")
    for row in rows:
        memory = row.metrics["memory_kib"]
        table.add_row(
            row.proxy,
            _number(memory.median),
            f"{_number(memory.least)}-{_number(memory.most)}",
            _ratio(row, "memory_kib"),
            _number(row.value("memory_base_mib")),
        )
    return table


def _targets_table(targets: Sequence[Target]) -> Table:
    table = _table("", "target", "measured", "at most", "")
    table.columns[1].justify = "left"
    for target in targets:
        met = "[green]met" if target.met else "[red]missed"
        table.add_row(target.proxy, target.name, f"{target.value:,.2f}", f"{target.limit:,.2f}", met)
    return table


def _ratio(row: Row, metric: str) -> str:
    ratio = row.to_envoy.get(metric)
    return "" if ratio is None or row.proxy == ENVOY else f"{ratio:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(*columns: str) -> Table:
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table
