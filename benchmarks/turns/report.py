"""The end of a bench: a table for each load, and one for each other checkout. Called by __main__."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.turns.loads import Load
from benchmarks.turns.measure import Sample, median_of
from benchmarks.turns.systems import YARDSTICK, System

_COMPARED = {
    "turns/s": (attrgetter("turns_per_s"), ",.0f"),
    "CPU ms": (attrgetter("cpu_ms"), ".3f"),
    "p50 ms": (attrgetter("p50_ms"), ".2f"),
    "p99 ms": (attrgetter("p99_ms"), ".2f"),
}


def print_load(load: Load, systems: Sequence[System], samples: Sequence[Sample]) -> None:
    """The medians of every system, and what they are of the yardstick's; under them, why others have none."""
    console = Console(width=160)
    yardstick = median_of(samples, YARDSTICK, load.name)
    columns = ("turns/s", "÷", "CPU ms", "÷", "of it", "p50 ms", "÷", "p99 ms", "÷ p50", "client ms", "busy")
    table = Table("", *columns, title=load.about, title_justify="left")
    for system in systems:
        row = median_of(samples, system.name, load.name)
        if row is not None:
            table.add_row(system.name, *_columns(row, yardstick))
    console.print(table)
    own = [sample for sample in samples if sample.load == load.name]
    for sample in own:
        if sample.failure is not None:
            console.print(f"{sample.system} [red]failed[/]: {escape(sample.failure)}")
    if disk_ms := [sample.fsync_ms for sample in own]:
        console.print(f"an fsync took {min(disk_ms):.2f} to {max(disk_ms):.2f} ms\n")


def _columns(row: Sample, yardstick: Sample | None) -> Iterable[str]:
    for name, (value_of, form) in _COMPARED.items():
        yield f"{value_of(row):{form}}"
        if name != "p99 ms":
            yield f"{value_of(row) / value_of(yardstick):.2f}" if yardstick else ""
        if name == "CPU ms":
            yield ", ".join(f"{kind} {ms:.2f}" for kind, ms in (row.cpu_ms_by_kind or {}).items())
    yield f"{row.p99_ms / row.p50_ms:.1f}"
    yield f"{row.client_ms:.3f}"
    yield f"{row.client_busy:.0%}"


def print_checkout(name: str, loads: Sequence[Load], systems: Sequence[System], samples: Sequence[Sample]) -> None:
    """What each system has here, and by how much that is another number than at the other checkout."""
    columns = (head for column in _COMPARED for head in (f"{column}: {name}", "here", "÷"))
    table = Table("", "", *columns, title=f"Here beside {name}", title_justify="left")
    for load in loads:
        for system in systems:
            before = median_of(samples, f"{system.name}@{name}", load.name)
            now = median_of(samples, system.name, load.name)
            if before is not None and now is not None:
                table.add_row(load.name, system.name, *_compared(before, now))
    if table.row_count:
        Console(width=160).print(table)


def _compared(before: Sample, now: Sample) -> Iterable[str]:
    for value_of, form in _COMPARED.values():
        yield f"{value_of(before):{form}}"
        yield f"{value_of(now):{form}}"
        yield f"{value_of(now) / value_of(before):.2f}"
