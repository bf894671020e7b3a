"""One line for each run, all of it as JSON, and the report: a page with a table and a timeline for each run."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from robustness.chaos.report.timeline import timeline
from robustness.chaos.run import Outcome
from robustness.chaos.validate.evidence import Evidence

HEADINGS = (
    "#",
    "fault",
    "seed",
    "violations",
    "p50",
    "p99",
    "max",
    "failovers",
    "cycles",
    "turns",
    "errors",
    "verdict",
)


def line(outcome: Outcome) -> str:
    """What `scripts/chaos` prints of a run."""
    number, name, seed, violations, *_ = cells(outcome)
    failover = "/".join(cells(outcome)[4:7])
    return (
        f"{number:>2} {name:18} seed {seed:>3}  {violations:>2} violations  failover p50/p99/max {failover:>17} "
        f"({len(outcome.failovers):3})  {outcome.cycles:2} cycles  {outcome.turns:5} turns  "
        f"{outcome.errors.total():4} errors  {verdict(outcome)}"
    )


def verdict(outcome: Outcome) -> str:
    """In few words."""
    if outcome.passed:
        return "pass"
    return "FAIL: " + "; ".join([*outcome.complaints, *map(str, outcome.violations)][:3])


def cells(outcome: Outcome) -> tuple[str, ...]:
    """As HEADINGS."""
    return (
        str(outcome.fault.number),
        outcome.fault.name,
        str(outcome.seed),
        str(len(outcome.violations)),
        *(_seconds(outcome.failover_s(percent)) for percent in (50, 99, 100)),
        str(len(outcome.failovers)),
        str(outcome.cycles),
        str(outcome.turns),
        str(outcome.errors.total()),
        verdict(outcome),
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All that is known of a run but its history."""
    return {
        "fault": outcome.fault.name,
        "number": outcome.fault.number,
        "must": outcome.fault.must,
        "seed": outcome.seed,
        "ttl_s": outcome.plan.ttl_s,
        "passed": outcome.passed,
        "violations": [asdict(violation) for violation in outcome.violations],
        "complaints": outcome.complaints,
        "failover_s": [round(each.took_s, 4) for each in outcome.failovers],
        "cycles": outcome.cycles,
        "turns": outcome.turns,
        "errors": dict(outcome.errors),
    }


def write(outcomes: Sequence[Outcome], directory: Path, about: str) -> Path:
    """Writes the page, and each run's history beside it; returns the page's path. about: one line on what ran."""
    rows, pictures = [], []
    for outcome in outcomes:
        name = f"{outcome.fault.name}-{outcome.seed}"
        _write_history(outcome.evidence, directory / f"{name}.jsonl")
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(outcome)) + "</tr>")
        title = f"{outcome.fault.name}, seed {outcome.seed}: {outcome.fault.must}"
        pictures.append(timeline(outcome.evidence, outcome.begun_ns, outcome.ended_ns, title))
    headings = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    page = directory / "report.html"
    page.write_text(
        "<!doctype html><meta charset=utf-8><title>agentring under faults</title>"
        "<style>body{font-family:sans-serif}td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left}</style>"
        f"<h1>agentring under faults</h1><p>{escape(about)}</p>"
        f"<table><tr>{headings}</tr>{''.join(rows)}</table>{''.join(f'<div>{picture}</div>' for picture in pictures)}"
    )
    return page


def _write_history(evidence: Evidence, path: Path) -> None:
    lines = [{"line": asdict(line)} for line in evidence.lines]
    lines += [{"call": asdict(call)} for call in evidence.calls]
    lines += [{"mark": asdict(mark)} for mark in evidence.marks]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
