"""A session whose store fails: it fails as a whole, and publishes nothing that is not stored."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from agentring.agent import AgentEvent, Context
from agentring.errors import (
    NodeDraining,
    StaleEpoch,
)
from harness.premises import Stage
from harness.sessions import acting
from harness.stores import RecordingStore

T = TypeVar("T")


class Broken(Exception):
    """A store's fault."""


class ImmediateStore(RecordingStore):
    """Whose methods wait for nothing."""

    waits = False

    async def _call(self, method: str, write: Callable[[], Awaitable[T]]) -> T:
        if (error := self.errors.get(method)) is not None:
            raise error
        return await write()


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn", "end_turn", "close_session"])
@pytest.mark.parametrize("error", [Broken(), StaleEpoch()], ids=["fault", "refusal"])
async def test_a_session_whose_store_fails_fails_and_publishes_nothing_that_is_not_stored(
    stage: Stage, method: str, error: Exception
) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        store.errors[method] = error
        match method:
            case "accept_turn":
                with pytest.raises(type(error)):
                    await actor.submit("c")
            case "commit_turn":
                stage.go.set()
            case "end_turn":
                with pytest.raises(type(error)):
                    await actor.session.cancel("b")
            case "close_session":
                with pytest.raises(type(error)):
                    await actor.session.close(0.0)
        await asyncio.wait([actor.runner])
        assert actor.failure is error
        assert store.calls[-1] == method  # nothing is written after it
        assert not any("completed" in line or "accepted c" in line for line in actor.kinds)
        with pytest.raises(type(error)):
            await actor.submit("d")
        actor.session.drop(NodeDraining())  # as a host does
        with pytest.raises(NodeDraining):
            await actor.submit("d")


async def test_a_store_that_fails_while_a_turn_runs_ends_the_turn_at_once(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        store.errors["end_turn"] = Broken()
        with pytest.raises(Broken):
            await actor.session.cancel("b")
        with pytest.raises(Broken):
            await cancel
        await asyncio.wait([actor.runner])


@pytest.mark.parametrize("waits", [True, False])
async def test_an_agent_that_has_not_waited_when_the_store_fails_goes_no_further(waits: bool) -> None:
    store, ended = ImmediateStore(), asyncio.Event()
    store.errors["start_tool"] = Broken()

    async def tool() -> None:
        raise AssertionError

    async def swallowing(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            with pytest.raises(Broken):
                await ctx.tool("a", tool)
            if waits:
                await asyncio.Event().wait()
            yield "went on"
        finally:
            ended.set()

    async with acting(swallowing, store=store) as actor:
        await actor.submit("a")
        await asyncio.wait([actor.runner])
        assert isinstance(actor.failure, Broken)
        await ended.wait()
        assert not any("turn_completed" in line for line in actor.kinds)
