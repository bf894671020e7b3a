"""A run drawn over its time: latency percentiles above, throughput below.

Guarantees a picture without a display; a second in which nothing ended is a break in the lines above and 0 below.
Called by the command line.
"""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from benchmarks.load.report import Report, loop_sentence

_SHORTEST_S = 0.5
_PERCENTILES = {"p50": "tab:green", "p90": "tab:orange", "p99": "tab:red"}


def write_plot(report: Report, path: Path) -> None:
    """Writes the picture as PNG. Raises OSError."""
    # A last second cut short says little about a rate.
    rows = [row for row in report.series if row.length_s >= _SHORTEST_S] or report.series
    seconds = [row.second + row.length_s / 2 for row in rows]
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    latency, throughput = figure.subplots(2, 1, sharex=True)
    for name, colour in _PERCENTILES.items():
        values = [getattr(row.turn_ms, name) for row in rows]
        _line(latency, seconds, [math.nan if value is None else value for value in values], colour, name)
    if any(row.turn_ms.count for row in rows):
        # From milliseconds to a stall of seconds in one picture.
        latency.set_yscale("log")
        latency.yaxis.set_major_formatter(LogFormatter())
        latency.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
    latency.set_ylabel("Turn latency (ms)")
    latency.set_title(loop_sentence(report).replace("; ", "\n", 1), fontsize=10)
    _line(throughput, seconds, [row.completed / row.length_s for row in rows], "tab:blue", "completed")
    _line(throughput, seconds, [row.failed / row.length_s for row in rows], "tab:red", "failed")
    throughput.set_ylabel("Throughput (turns/s)")
    throughput.set_xlabel("Time since the run began (s)")
    throughput.set_ylim(bottom=0)
    throughput.set_xlim(left=0)
    for axes in (latency, throughput):
        axes.grid(visible=True, alpha=0.3)
        # Beside the lines: inside it would hide some.
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, frameon=False)
    figure.savefig(path, dpi=120, format="png")


def _line(axes: Axes, seconds: list[float], values: list[float], colour: str, label: str) -> None:
    axes.plot(seconds, values, color=colour, label=label, marker=".", linewidth=1.2)
