"""The end of a bench: a table for each load. Called by __main__."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.turns.loads import Load
from benchmarks.turns.measure import Sample, median_of
from benchmarks.turns.systems import YARDSTICK, System


def print_load(load: Load, systems: Sequence[System], samples: Sequence[Sample]) -> None:
    """The medians of every system that took part."""
    console = Console(width=150)
    yardstick = median_of(samples, YARDSTICK, load.name)
    columns = ("turns/s", "CPU ms", "÷ yardstick", "of it", "p50 ms", "p99 ms", "client")
    table = Table("", *columns, title=load.about, title_justify="left")
    for system in systems:
        row = median_of(samples, system.name, load.name)
        if row is None:
            failed = [each.failure for each in samples if (each.system, each.load) == (system.name, load.name)]
            if failed:
                table.add_row(system.name, f"[red]failed[/]: {failed[0]}")
            continue
        table.add_row(
            system.name,
            f"{row.turns_per_s:,.0f}",
            f"{row.cpu_ms:.3f}",
            f"{row.cpu_ms / yardstick.cpu_ms:.2f}" if yardstick else "",
            ", ".join(f"{kind} {ms:.2f}" for kind, ms in (row.cpu_ms_by_kind or {}).items()),
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.client_busy:.0%}",
        )
    console.print(table)
