"""A file that is read again when it has changed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agentring.process.polled_file import MAX_BYTES, POLL_S, FileRefused, PolledFile
from harness.clock import FakeClock


def number(content: bytes) -> int:
    if not content.isdigit():
        raise ValueError("no number")
    return int(content)


class Polled:
    def __init__(self, path: Path, parse: Callable[[bytes], int]) -> None:
        self.path = path
        self.clock = FakeClock()
        self.file = PolledFile(path, parse)
        self.changes: list[int] = []

    async def after(self, content: bytes | None) -> int:
        """What is in use once the file says this; None: it is not there."""
        self.path.unlink(missing_ok=True) if content is None else self.path.write_bytes(content)
        await self.clock.next_due_s()
        self.clock.advance(POLL_S)
        await self.clock.next_due_s()
        return self.file.current


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(b"1")
    return tmp_path / "f"


@asynccontextmanager
async def polled(path: Path, parse: Callable[[bytes], int] = number) -> AsyncIterator[Polled]:
    found = Polled(path, parse)
    polling = asyncio.create_task(found.file.poll(found.clock.sleep, lambda: found.changes.append(found.file.current)))
    yield found
    polling.cancel()
    await asyncio.wait([polling])


async def test_a_changed_file_counts_and_a_broken_one_changes_nothing_and_is_said_once(path: Path) -> None:
    async with polled(path) as file:
        with capture_logs() as logs:
            assert await file.after(b"2") == 2
            assert await file.after(b"x") == 2
            assert await file.after(b"x") == 2
            assert await file.after(None) == 2
            assert await file.after(b"1" * (MAX_BYTES + 1)) == 2
            assert await file.after(b"2") == 2
            assert await file.after(b"3") == 3
        said = [(log["event"], log.get("error", "").partition(": ")[2]) for log in logs]
        assert said == [
            ("file_reloaded", ""),
            ("file_not_reloaded", "no number"),
            ("file_not_reloaded", "No such file or directory"),
            ("file_not_reloaded", ""),
            ("file_reloaded", ""),
        ]
        assert all(str(path) in (log.get("error") or log["path"]) for log in logs)
        assert file.changes == [2, 3]


async def test_it_is_parsed_off_the_loop_and_what_was_refused_once(path: Path) -> None:
    parsed: list[tuple[bytes, bool]] = []

    def parse(content: bytes) -> int:
        parsed.append((content, threading.current_thread() is threading.main_thread()))
        return number(content)

    async with polled(path, parse) as file:
        for _ in range(3):
            await file.after(b"x")
        await file.after(b"2")
    assert parsed == [(b"1", True), (b"x", False), (b"2", False)]


def test_one_that_cannot_be_used_at_the_start_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="f cannot be read: No such file or directory"):
        PolledFile(tmp_path / "f", number)
    (tmp_path / "f").write_bytes(b"y")
    with pytest.raises(FileRefused, match="f: no number"):
        PolledFile(tmp_path / "f", number)
