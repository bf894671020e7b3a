"""Lines of logs: whole, in order, and as they come."""

import asyncio
import json
from pathlib import Path

from agentring.cli.local.log_files import LogFollower, LogLine, in_order, parse, read_lines, sources


def line(at: str, event: str = "e", **fields: object) -> str:
    return json.dumps({"event": event, "timestamp": at, **fields})


def test_a_line_of_ours_has_fields_and_anybody_elses_is_text() -> None:
    assert parse("n1", line("1", error_id="x")).fields["error_id"] == "x"
    for text in ("Traceback (most recent call last):", '{"a": 1}', "{", "[" * 100_000, "{" + "[" * 100_000):
        assert parse("n1", text) == LogLine("n1", text, {})


def test_the_log_before_comes_first(tmp_path: Path) -> None:
    (tmp_path / "n1.log").write_text("c\nd")
    (tmp_path / "n1.log.1").write_bytes(b"a\nb\xff\n")
    (tmp_path / "r1.log").write_text("")
    assert [each.text for each in read_lines(tmp_path, "n1")] == ["a", "b\ufffd", "c", "d"]
    assert sources(tmp_path) == ["n1", "r1"]
    assert list(read_lines(tmp_path, "n2")) == []


def test_lines_are_in_the_order_of_their_times_and_text_stays_behind_its_line() -> None:
    ours = [parse("n1", text) for text in ("before", line("1"), "text of 1", line("4"))]
    others = [parse("n2", text) for text in (line("2"), line("3"), "text of 3")]
    texts = [each.text for each in in_order(ours + others, 0)]
    assert texts == ["before", line("1"), "text of 1", line("2"), line("3"), "text of 3", line("4")]
    assert [each.text for each in in_order(ours + others, 2)] == texts[-2:]


def test_what_is_appended_is_read_once_whole_and_anew_where_the_log_is(tmp_path: Path) -> None:
    log = tmp_path / "n1.log"
    log.write_text("old\n")
    follower = LogFollower(tmp_path)
    with log.open("a") as file:
        file.write("one\ntw")
    assert [each.text for each in follower.read()] == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert [each.text for each in follower.read()] == ["two"]
    log.rename(tmp_path / "n1.log.1")
    log.write_text("new\n")
    (tmp_path / "n2.log").write_text("another's\n")
    assert [(each.source, each.text) for each in follower.read()] == [("n1", "new"), ("n2", "another's")]
    assert follower.read() == []


async def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "n1.log"
    log.write_text("old\n")
    follower = LogFollower(tmp_path, ["n1"])
    found: list[str] = []

    async def follow() -> None:
        async for lines in follower.lines():
            found.extend(each.text for each in lines)
            if found[-1] == "last":
                return

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(follow())
        with log.open("a") as file:
            file.write("first\nlast\n")
    assert found == ["first", "last"]
