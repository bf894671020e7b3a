"""A line of a log, as people see it."""

from typing import Any

from agentring.cli.terminal.log_view import shown

RUN = {"tenant": "", "session": "ada", "agent": "shout", "turn": "t.1", "attempt": 1}


def lines(**fields: Any) -> list[str]:
    head = {"event": "looked_up", "level": "info", "timestamp": "2026-11-28T22:15:23.123456Z"}
    return [text for text, _ in shown("n1", "", {**head, **fields})]


def test_it_has_its_time_its_process_its_fields_and_its_run() -> None:
    assert lines(**RUN, city="Oslo", note="two words") == [
        '22:15:23.123 n1 info looked_up  city=Oslo note="two words" agent=shout session=ada turn=t.1'
    ]
    assert lines(**{**RUN, "tenant": "acme", "attempt": 2})[0].endswith("turn=t.1 attempt=2 tenant=acme")


def test_what_was_printed_or_logged_stands_in_place_of_the_event() -> None:
    assert lines(event="printed", text="hello you") == ["22:15:23.123 n1 info hello you"]
    assert lines(event="logged", logger="httpx", text="GET") == ["22:15:23.123 n1 info httpx: GET"]


def test_a_traceback_stands_below_it() -> None:
    assert lines(level="warning", event="agent_failed", exception="Traceback\n  File x\nKeyError: 1\n") == [
        "22:15:23.123 n1 warning agent_failed",
        "    Traceback",
        "      File x",
        "    KeyError: 1",
    ]
    assert [style for _, style in shown("n1", "", {"event": "e", "level": "warning", "exception": "x"})] == [
        "yellow"
    ] * 2


def test_no_control_character_is_shown() -> None:
    assert lines(event="printed", text="a\x1b[2Jb") == ["22:15:23.123 n1 info a[2Jb"]
    assert shown("etcd", "a\x1bb", {}) == [("etcd ab", "dim")]
