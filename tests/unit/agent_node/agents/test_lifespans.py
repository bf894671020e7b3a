"""What agents open for their process: once, before their runs, and closed after them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from agent_node.agents import lifespans
from agent_node.agents.lifespans import Lifespans, OpenedAgent
from agentring.agent import Agent, AgentEvent, Context, agent

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def declared(lifespan: Lifespan) -> Agent:
    @agent(lifespan=lifespan)
    async def run(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""

    return run


async def plain(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield ""


class Pool:
    """Says who has opened and closed it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @asynccontextmanager
    async def lifespan(self, settings: Any) -> AsyncIterator[str]:
        task = asyncio.current_task()
        self.said.append(f"open {settings}")
        yield "pool"
        assert asyncio.current_task() is task, "a scope must be closed where it was opened"
        self.said.append("closed")


async def test_each_is_opened_once_with_its_settings_and_closed_in_the_same_task() -> None:
    pool = Pool()
    spans = Lifespans({"a": declared(pool.lifespan), "b": plain}, {"a": 1, "b": 2, "not here": 3})
    assert await spans.open() == {}
    assert spans.opened == {"a": OpenedAgent(1, "pool"), "b": OpenedAgent(2, None)}
    assert pool.said == ["open 1"]
    await spans.close()
    assert pool.said == ["open 1", "closed"]


async def test_without_any_nothing_is_begun() -> None:
    before = asyncio.all_tasks()
    spans = Lifespans({"b": plain}, {})
    assert await spans.open() == {}
    assert asyncio.all_tasks() == before
    await spans.close()


async def test_one_that_fails_is_told_in_a_line_and_keeps_no_other_from_it() -> None:
    pool = Pool()

    def fails(error: BaseException) -> Agent:
        @asynccontextmanager
        async def failing(fault: BaseException | None = error) -> AsyncIterator[None]:
            if fault is not None:
                raise fault
            yield

        return declared(lambda _: failing())

    raising, exiting = fails(ConnectionError("the password is 0815")), fails(SystemExit(3))
    agents = {"a": raising, "b": exiting, "c": declared(pool.lifespan)}
    agents["d"] = declared(lambda _: None)  # type: ignore[arg-type, return-value]
    spans = Lifespans(agents, {})
    left_out = await spans.open()
    assert set(left_out) == {"a", "b", "d"}
    assert left_out["a"].startswith("agent 'a' cannot be opened: its lifespan raised ConnectionError (")
    assert "test_lifespans.py" in left_out["a"]
    assert "0815" not in left_out["a"]
    assert "SystemExit" in left_out["b"]
    assert set(spans.opened) == {"c"}
    await spans.close()
    assert pool.said == ["open None", "closed"]


async def test_one_that_does_not_come_is_left_out_and_cancelled() -> None:
    ended = asyncio.Event()

    @asynccontextmanager
    async def slow(_: Any) -> AsyncIterator[None]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        yield

    spans = Lifespans({"slow": declared(slow)}, {}, open_s=0.01)
    assert await spans.open() == {"slow": "agent 'slow' cannot be opened: not within 0.01 s"}
    await ended.wait()
    await spans.close()


async def test_one_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifespans, "CLOSE_S", 0.01)
    cancelled = asyncio.Event()

    @asynccontextmanager
    async def stubborn(_: Any) -> AsyncIterator[None]:
        yield
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    spans = Lifespans({"stubborn": declared(stubborn)}, {})
    await spans.open()
    await spans.close()
    assert cancelled.is_set()


async def test_one_that_is_still_opening_when_the_node_stops_is_cancelled() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow(_: Any) -> AsyncIterator[None]:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        yield

    spans = Lifespans({"slow": declared(slow)}, {})
    opening = asyncio.create_task(spans.open())
    await begun.wait()
    opening.cancel()
    await asyncio.wait([opening])
    await spans.close()
    assert ended.is_set()
