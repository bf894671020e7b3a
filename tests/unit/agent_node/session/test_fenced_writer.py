"""The writes of a session: one at a time, in order, only while they may, and none after one that failed."""

import asyncio

import pytest

from agent_node.session.fenced_writer import FencedWriter
from agentring.errors import NodeFenced


class Writes:
    """A writer, and what became of its writes."""

    def __init__(self) -> None:
        self.fenced = False
        self.failures: list[Exception] = []
        self.log: list[str] = []
        self.go = asyncio.Event()
        self.writer = FencedWriter(self._check, self.failures.append)

    def _check(self) -> None:
        if self.fenced:
            raise NodeFenced

    async def write(self, name: str, error: BaseException | None = None) -> None:
        async with self.writer:
            self.log.append(f"{name} begins")
            await self.go.wait()
            if error is not None:
                raise error
            self.log.append(f"{name} ends")

    async def begin(self, name: str, error: BaseException | None = None) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.write(name, error))
        await asyncio.sleep(0)
        return task


async def test_writes_go_one_at_a_time_in_the_order_in_which_they_were_asked_for() -> None:
    writes = Writes()
    tasks = [await writes.begin(name) for name in "abc"]
    assert writes.log == ["a begins"]
    writes.go.set()
    await asyncio.gather(*tasks)
    assert writes.log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert writes.failures == []


async def test_past_the_fence_nothing_is_written_and_the_next_is_not_held_up() -> None:
    writes = Writes()
    writes.go.set()
    writes.fenced = True
    for _ in range(2):
        with pytest.raises(NodeFenced):
            await writes.write("a")
    assert (writes.log, writes.failures) == ([], [])
    writes.fenced = False
    await writes.write("b")


async def test_what_was_written_when_the_fence_came_is_not_published() -> None:
    writes = Writes()
    task = await writes.begin("a")
    writes.fenced = True
    writes.go.set()
    with pytest.raises(NodeFenced):
        await task
    assert (writes.log, writes.failures) == (["a begins", "a ends"], [])


async def test_after_a_write_that_failed_there_is_none_and_all_raise_its_error() -> None:
    writes, error = Writes(), OSError("no store")
    first, second = await writes.begin("a", error), await writes.begin("b")
    writes.go.set()
    for task in (first, second):
        with pytest.raises(OSError, match="no store"):
            await task
    with pytest.raises(OSError, match="no store"):
        writes.writer.check()
    assert (writes.log, writes.failures) == (["a begins"], [error])


async def test_a_write_that_is_cancelled_is_no_failure_of_the_store() -> None:
    writes = Writes()
    first = await writes.begin("a")
    first.cancel()
    await asyncio.wait([first])
    writes.go.set()
    await writes.write("b")
    assert (writes.log, writes.failures) == (["a begins", "b begins", "b ends"], [])
