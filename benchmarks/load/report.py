"""The end of a run: one Report, shown as a table for people or as JSON for machines.

Guarantees that the JSON has exactly the Report's fields, and that both say whether latencies are corrected for
coordinated omission. Called by `run` and the command line.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load.measure import Percentiles, Second, Tally
from benchmarks.load.plan import Plan
from benchmarks.load.turn import Problem

NOT_STARTED = Problem("client", "TURN_NOT_STARTED")

_BUSY_CPU = 0.9


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How often something went wrong. A turn can have several."""

    kind: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Stickiness:
    """Whether each session stayed with one node and one epoch."""

    violations: int
    """How often a session's node or epoch was another than before."""
    sessions_moved: int
    allowed: bool
    """Whether moves are no errors in this run."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run's result. Latencies are in milliseconds."""

    ok: bool
    """Every turn ended in turn_completed, and nothing was wrong with any."""
    loop: str
    """`open` or `closed`."""
    corrected_for_coordinated_omission: bool
    plan: dict[str, Any]
    routers: list[str]
    elapsed_s: float
    turns_planned: int | None
    """None: as many as the time allowed."""
    turns_started: int
    turns_completed: int
    turns_failed: int
    turns_per_s: float
    tokens_per_s: float | None
    """Of completed turns; None: the agent is not one that is told how many."""
    events: int
    events_per_s: float
    text_bytes: int
    first_event_ms: Percentiles
    first_text_ms: Percentiles
    turn_ms: Percentiles
    start_delay_ms: Percentiles
    """From when a turn was due to when it was sent; all 0 in a closed loop."""
    errors: list[ErrorCount]
    sessions: int
    sessions_per_node: dict[str, int]
    """By the node that served them first."""
    stickiness: Stickiness
    generator_cpu: float
    """Cores that this process used; near 1 it is itself the bottleneck."""
    series: list[Second]

    def as_json(self) -> dict[str, Any]:
        """The fields, as json.dumps takes them."""
        return asdict(self)


def make_report(plan: Plan, routers: Sequence[str], tally: Tally, cpu_s: float) -> Report:
    """The result of a run that has ended; `cpu_s` is what this process used for it."""
    elapsed_s = max(tally.last_turn_ended_s - tally.start_s, 1e-9)
    problems = tally.problems.copy()
    not_started = (plan.turns_planned or tally.started) - tally.started
    if not_started:
        problems[NOT_STARTED] += not_started
    return Report(
        ok=not problems and tally.completed > 0,
        loop="open" if plan.open_loop else "closed",
        corrected_for_coordinated_omission=plan.open_loop,
        plan=asdict(plan),
        routers=list(routers),
        elapsed_s=round(elapsed_s, 3),
        turns_planned=plan.turns_planned,
        turns_started=tally.started,
        turns_completed=tally.completed,
        turns_failed=tally.failed,
        turns_per_s=round(tally.completed / elapsed_s, 1),
        tokens_per_s=None if plan.tokens_expected is None else round(tally.completed * plan.tokens / elapsed_s, 1),
        events=tally.events,
        events_per_s=round(tally.events / elapsed_s, 1),
        text_bytes=tally.text_bytes,
        first_event_ms=tally.first_event.percentiles(),
        first_text_ms=tally.first_text.percentiles(),
        turn_ms=tally.turn.percentiles(),
        start_delay_ms=tally.start_delay.percentiles(),
        errors=[ErrorCount(problem.kind, problem.reason, count) for problem, count in problems.most_common()],
        sessions=tally.sessions_ended,
        sessions_per_node=dict(sorted(tally.sessions_by_node.items())),
        stickiness=Stickiness(tally.moves, tally.sessions_moved, tally.may_move),
        generator_cpu=round(cpu_s / elapsed_s, 2),
        series=tally.series.rows(tally.last_turn_ended_s),
    )


def loop_sentence(report: Report) -> str:
    """How the turns were sent, and so what the latencies mean."""
    if report.corrected_for_coordinated_omission:
        return (
            f"open loop, {report.plan['rate']:g} turns/s due on a fixed schedule; latency counts from the time a turn "
            "was due (corrected for coordinated omission)"
        )
    return (
        "closed loop, each session's next turn after its last; latency counts from the time a turn was sent "
        "(not corrected for coordinated omission)"
    )


def print_report(report: Report, console: Console) -> None:
    """The table for people."""
    console.print(f"[bold]{loop_sentence(report)}", highlight=False)
    console.print(_totals(report))
    console.print(_latencies(report))
    console.print(_counts(["sessions on node", "count"], [(n, f"{c:,}") for n, c in report.sessions_per_node.items()]))
    if report.errors:
        rows = [(error.kind, error.reason, f"{error.count:,}") for error in report.errors]
        console.print(_counts(["errors from", "reason", "count"], rows))
    if report.generator_cpu >= _BUSY_CPU:
        console.print("[yellow]this process was near the limit of one core: it may be what is measured")
    console.print("[bold green]ok" if report.ok else "[bold red]failed")


def _totals(report: Report) -> Table:
    table = _table(["", ""])
    planned = "" if report.turns_planned is None else f" of {report.turns_planned:,}"
    stuck = report.stickiness
    moved = (
        f" in {stuck.sessions_moved:,} of {report.sessions:,} sessions{', allowed' if stuck.allowed else ''}"
        if stuck.violations
        else ""
    )
    rows = [
        ("turns completed", f"{report.turns_completed:,}{planned}"),
        ("turns failed", f"{report.turns_failed:,}"),
        ("time", f"{report.elapsed_s:,.2f} s"),
        ("turns/s", f"{report.turns_per_s:,.1f}"),
        ("events/s", f"{report.events_per_s:,.1f}"),
        ("tokens/s", "-" if report.tokens_per_s is None else f"{report.tokens_per_s:,.1f}"),
        ("sessions", f"{report.sessions:,}"),
        ("stickiness violations", f"{stuck.violations:,}{moved}"),
        ("load generator's CPU", f"{report.generator_cpu:.2f} cores"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _latencies(report: Report) -> Table:
    table = _table(["latency, ms", "p50", "p90", "p99", "max", "count"])
    rows = [
        ("time to first event", report.first_event_ms),
        ("time to first text", report.first_text_ms),
        ("turn", report.turn_ms),
    ]
    if report.corrected_for_coordinated_omission:
        rows.append(("sent after it was due", report.start_delay_ms))
    for name, latency in rows:
        cells = ("-" if ms is None else f"{ms:,.2f}" for ms in (latency.p50, latency.p90, latency.p99, latency.max))
        table.add_row(name, *cells, f"{latency.count:,}")
    return table


def _counts(columns: list[str], rows: Sequence[tuple[str, ...]]) -> Table:
    table = _table(columns, text_columns=len(columns) - 1)
    for row in rows:
        table.add_row(*row)
    return table


def _table(columns: list[str], text_columns: int = 1) -> Table:
    table = Table(show_header=any(columns))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < text_columns else "right")
    return table
