"""The end of the bench: medians, a table for people, JSON for machines. Called by __main__."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.merging.loads import Load
from benchmarks.merging.run import Sample

_MOST_CONTENTION = 0.05

_METRICS: dict[str, Callable[[float], str]] = {
    "cpu_us": lambda value: f"{value:.1f}",
    "events_per_s": lambda value: f"{value:,.0f}",
    "events_per_response": lambda value: f"{value:.2f}",
    "p50_ms": lambda value: f"{value:.1f}",
    "p99_ms": lambda value: f"{value:.1f}",
    "node_busy": lambda value: f"{value:.0%}",
    "client_busy": lambda value: f"{value:.0%}",
}
_RATIOS = ("cpu_us", "events_per_s", "p50_ms", "p99_ms")


@dataclass(frozen=True, slots=True)
class Row:
    """One node on one load: the medians of the runs, by Sample's names."""

    load: str
    variant: str
    medians: dict[str, float]
    least_cpu_us: float
    most_cpu_us: float


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """One for each load and variant, in the order of the first run."""
    rows = []
    for load, variant in dict.fromkeys((sample.load, sample.variant) for sample in samples):
        own = [sample for sample in samples if (sample.load, sample.variant) == (load, variant)]
        medians = {}
        for metric in _METRICS:
            values = [value for sample in own if (value := getattr(sample, metric)) is not None]
            if values:
                medians[metric] = median(values)
        cpu_us = [sample.cpu_us for sample in own]
        rows.append(Row(load, variant, medians, min(cpu_us), max(cpu_us)))
    return rows


def ratios_of(rows: Sequence[Row], load: str) -> dict[str, float]:
    """What it is without merging, divided by what it is with merging: the first row's variant."""
    merging, without = (row.medians for row in rows if row.load == load)
    return {metric: without[metric] / merging[metric] for metric in _RATIOS if merging.get(metric)}


def as_json(
    about: dict[str, Any], loads: Sequence[Load], samples: Sequence[Sample], rows: Sequence[Row]
) -> dict[str, Any]:
    """Everything that was measured, as json.dumps takes it."""
    return {
        "about": about,
        "loads": {load.name: load.about for load in loads},
        "rows": [asdict(row) for row in rows],
        "without_to_with": {load.name: ratios_of(rows, load.name) for load in loads},
        "samples": [asdict(sample) for sample in samples],
    }


def print_report(
    console: Console, about: dict[str, Any], loads: Sequence[Load], samples: Sequence[Sample], rows: Sequence[Row]
) -> None:
    """A table for each load."""
    console.print(", ".join(f"{name}: {value}" for name, value in about.items()), style="dim", highlight=False)
    for load in loads:
        console.print(f"\n[bold]{load.name}[/]  {load.about}", highlight=False)
        console.print(_table(load, rows))
    disturbed = max(sample.contention for sample in samples)
    if disturbed > _MOST_CONTENTION:
        console.print(
            f"[yellow]other processes used up to {disturbed:.0%} of the node's core during a load: measure again on a "
            "quiet machine"
        )


def _table(load: Load, rows: Sequence[Row]) -> Table:
    table = Table()
    heads = ("", "node CPU µs/event", "least-most", "events/s", "events/response", "p50 ms", "p99 ms", "node", "client")
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        if row.load == load.name:
            cells = _cells(row.medians, _METRICS)
            spread = f"{row.least_cpu_us:.1f}-{row.most_cpu_us:.1f}"
            table.add_row(row.variant, cells[0], spread, *cells[1:])
    cells = _cells(ratios_of(rows, load.name), dict.fromkeys(_METRICS, lambda value: f"{value:.2f}"))
    table.add_row("without ÷ with", cells[0], "", *cells[1:], style="bold")
    return table


def _cells(values: dict[str, float], formats: dict[str, Callable[[float], str]]) -> list[str]:
    return [show(values[metric]) if metric in values else "" for metric, show in formats.items()]
