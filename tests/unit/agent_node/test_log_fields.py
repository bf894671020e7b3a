"""The fields of a run's log lines."""

import pytest

from agent_node.log_fields import named, trace_of
from agentring.ids import parse_session, parse_task

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_run_has_the_fields_that_are_known_of_it() -> None:
    assert named(parse_session("acme", "s"), "echo", "t", 2, TRACE) == {
        "tenant": "acme",
        "session": "s",
        "agent": "echo",
        "turn": "t",
        "attempt": 2,
        "trace": TRACE,
    }
    assert named(parse_task("", "k")) == {"tenant": "default", "task": "k"}


@pytest.mark.parametrize("header", [f"00-{TRACE}-b7ad6b7169203331-01", f"cc-{TRACE}-b7ad6b7169203331-01-more"])
def test_the_trace_of_a_header(header: str) -> None:
    assert trace_of(header) == TRACE


@pytest.mark.parametrize(
    "header",
    ["", TRACE, f"00-{TRACE}", f"00-{'0' * 32}-b7-01", f"00-{TRACE.upper()}-b7-01", f"00-{TRACE}0-b7-01", "---"],
)
def test_what_is_none_has_none(header: str) -> None:
    assert trace_of(header) == ""
