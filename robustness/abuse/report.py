"""The table, and the same as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from robustness.abuse.run import Row, end_of

_MIB = 1 << 20


def print_report(console: Console, rows: Sequence[Row]) -> None:
    """One row for each attack."""
    table = Table(
        "attack", "size", "ended by", "after", title="A router under attack, and its neighbours", expand=False
    )
    for heading in ("p50 before", "during", "p99 before", "during", "max", "RSS MiB", "peak", "later", "verdict"):
        table.add_column(heading, justify="left" if heading == "verdict" else "right")
    for row in rows:
        before, during, after_s = row.before, row.during, row.outcome.ended_after_s
        table.add_row(
            row.case.attack,
            f"{row.case.size:,}",
            end_of(row.outcome),
            "" if after_s is None else f"{after_s * 1e3:,.1f} ms" if after_s < 1 else f"{after_s:.1f} s",
            *(_ms(window[f"p{percent}_ms"]) for percent in (50, 99) for window in (before, during)),
            _ms(during["p100_ms"]),
            *(f"{size / _MIB:.0f}" for size in (row.before_bytes, row.peak_bytes, row.after_bytes)),
            "FAIL: " + "; ".join(row.faults) if row.faults else "pass",
        )
    console.print(table)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All that was measured."""
    return [
        {
            "attack": row.case.attack,
            "size": row.case.size,
            "before": row.before,
            "during": row.during,
            "rss_before_bytes": row.before_bytes,
            "rss_peak_bytes": row.peak_bytes,
            "rss_after_bytes": row.after_bytes,
            "outcome": row.outcome.as_json(),
            "faults": row.faults,
        }
        for row in rows
    ]


def _ms(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.1f}"
