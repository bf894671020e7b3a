"""docs/operations.md and docs/metrics.md have what an operator may meet: metrics, exit statuses, reasons, events."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from agent_node.audit import Transition
from agent_node.lifecycle.watchdog import EXIT_LOOP_STUCK
from agentring.cluster.condition import Condition, Trouble
from agentring.cluster.lease import FenceReason
from agentring.errors import availability
from agentring.errors.base import AgentringError
from agentring.process.forks import EXIT_FORKED_CHILD
from agentring.process.self_check import EXIT_NOT_SERVING
from agentring.settings import EXIT_BAD_SETTINGS
from harness.pages import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
_EVENTS = re.compile(r"_log\.(?:error|exception)\(\s*f?\"([a-z_]+|\{self\._kind\}[a-z_]+)\"")
_SWEPT = ("session", "task")
"""What ownership/sweep.py takes up; its events begin with it."""
_METRICS = re.compile(r"(?:_gauge|_by|_one_of|_counter|_histogram)\(\s*\"(\w+)\"|\"agentring_(?:node|router)_(\w+)\"")


def part(title: str) -> str:
    """A chapter of the page."""
    begin = PAGE.index(f"\n## {title}\n")
    return PAGE[begin : PAGE.find("\n## ", begin + 1)]


def sources() -> list[Path]:
    """The product's."""
    return [path for folder in ("agentring", "agent_node", "router") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("source", ["agent_node/metrics.py", "router/metrics.py"])
def test_every_metric_has_a_row(source: str) -> None:
    names = {one or other for one, other in _METRICS.findall((ROOT / source).read_text())}
    rows = "\n".join(line for line in METRICS.splitlines() if line.startswith("| `"))
    assert len(names) > 15
    assert [name for name in sorted(names) if f"`{name}`" not in rows] == []


def test_what_is_alerted_on_is_a_metric() -> None:
    names = {one or other for path in sources() for one, other in _METRICS.findall(path.read_text())}
    alerts = set(re.findall(r"agentring_(?:node|router)_(\w+)", METRICS))
    assert {name.removesuffix("_total") for name in alerts} - names <= {""}


def test_every_fence_and_state_is_named() -> None:
    named = METRICS
    for word in (*FenceReason, *Condition, *Trouble):
        assert f"`{word}`" in named, word


def test_every_exit_status_is_explained() -> None:
    rows = re.findall(r"^\| (\d+) \|", part("Exit statuses"), re.MULTILINE)
    known = {0, 1, 130, EXIT_BAD_SETTINGS, EXIT_FORKED_CHILD, EXIT_LOOP_STUCK, EXIT_NOT_SERVING}
    assert {int(row) for row in rows} == known


def test_every_transition_is_named() -> None:
    named = part("Logs and the audit log")
    assert [event for event in get_args(Transition) if f"`{event}`" not in named] == []


def test_every_event_that_somebody_should_look_at_is_explained() -> None:
    found = {event for path in sources() for event in _EVENTS.findall(path.read_text())}
    events = {event.format(self=SimpleNamespace(_kind=kind)) for event in found for kind in _SWEPT}
    named = part("Messages, and what to do")
    assert len(events) > 30
    assert [event for event in sorted(events) if f"`{event}`" not in named] == []


def test_everything_that_passes_by_itself_or_by_an_operator_is_explained() -> None:
    reasons = {
        each.reason
        for each in vars(availability).values()
        if isinstance(each, type) and issubclass(each, AgentringError) and each.__module__ == availability.__name__
    } - {"UNAVAILABLE"}
    named = part("Messages, and what to do")
    assert len(reasons) > 15
    assert [reason for reason in sorted(reasons) if reason not in named] == []
