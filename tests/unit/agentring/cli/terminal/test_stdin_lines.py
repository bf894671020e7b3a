"""Lines of standard input, from a pipe and from a file."""

import asyncio
import os
from pathlib import Path

from agentring.cli.terminal.stdin_lines import StdinLines


async def test_lines_come_as_they_are_written() -> None:
    reading, writing = os.pipe()
    try:
        lines = StdinLines(reading)
        os.write(writing, b"one\ntw")
        assert await lines.next() == "one"
        async with asyncio.timeout(30.0), asyncio.TaskGroup() as tasks:
            two = tasks.create_task(lines.next())
            await asyncio.sleep(0)
            assert not two.done()
            os.write(writing, "o é\r\n\nlast".encode())
        assert two.result() == "two é"
        assert await lines.next() == ""
        os.close(writing)
        assert await lines.next() == "last"
        assert await lines.next() is None
        assert await lines.next() is None
    finally:
        os.close(reading)


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"one\ntwo\n")
    with (tmp_path / "input").open("rb") as file:
        lines = StdinLines(file.fileno())
        assert [await lines.next() for _ in range(3)] == ["one", "two", None]


async def test_a_cancelled_wait_loses_nothing() -> None:
    reading, writing = os.pipe()
    try:
        lines = StdinLines(reading)
        os.write(writing, b"on")
        waiting = asyncio.ensure_future(lines.next())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        os.write(writing, b"e\n")
        assert await lines.next() == "one"
    finally:
        os.close(reading)
        os.close(writing)
