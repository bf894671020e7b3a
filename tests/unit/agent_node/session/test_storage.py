"""What a session's turns store by key, over its owners and turns: written under the session's compares."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentring.agent import Agent, AgentEvent, Context
from agentring.errors import StaleEpoch
from agentring.ids import Epoch
from harness.attempts import Ran
from harness.sessions import EPOCH, acting
from harness.stores import RecordingStore


def counting(ran: Ran, go: asyncio.Event | None = None) -> Agent:
    """Adds one to a number in a step; then waits until it may go on."""

    async def add(ctx: Context) -> int:
        ran.called("add")
        number = int(await ctx.storage.get("number") or b"0") + 1
        await ctx.storage.put("number", str(number).encode())
        return number

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("add", add, ctx, key="add"))
        latest = await ctx.storage.latest.get("number")
        yield f" {latest!r}"
        ran.called("added")
        if go is not None:
            await go.wait()

    return agent


@pytest.fixture
def ran() -> Ran:
    return Ran()


@pytest.mark.parametrize("durable", [True, False])
async def test_a_later_turn_finds_what_an_earlier_one_has_stored(ran: Ran, durable: bool) -> None:
    async with acting(counting(ran), store=RecordingStore(durable=durable)) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
            assert await actor.until_ended(turn_id) == ["turn_completed"]
        texts = [event.text_delta.text for event in actor.events() if event.HasField("text_delta")]
    assert "".join(texts) == "1 b'1'2 b'2'"


async def test_the_next_owner_finds_it_and_adds_nothing_twice(ran: Ran) -> None:
    go, store = asyncio.Event(), RecordingStore(durable=True)
    async with acting(counting(ran, go), store=store) as lost:
        await lost.submit("t")
        await ran.until_called("added")
    go.set()
    async with acting(counting(ran, go), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_completed"]
        last = max(event.attempt for event in owner.events())
        assert "".join(event.text_delta.text for event in owner.events() if event.attempt == last) == "1 b'1'"
        assert ("storage_written", "t") not in owner.audit.lines
    assert ran.calls == {"add": 1, "added": 2}
    assert ("storage_written", "t") in lost.audit.lines


async def test_an_owner_that_has_lost_the_session_stores_nothing(ran: Ran) -> None:
    store = RecordingStore(durable=True)
    held = store.hold("keep_steps")
    async with acting(counting(ran), store=store) as stale:
        await stale.submit("t")
        await store.reached["keep_steps"].wait()
        store.held.clear()
        async with acting(counting(ran), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
            assert await owner.until_ended("t") == ["turn_completed"]
            held.set()
            await asyncio.wait([stale.runner])
            assert isinstance(stale.failure, StaleEpoch)
            await owner.submit("next")
            assert await owner.until_ended("next") == ["turn_completed"]
            last = [event.text_delta.text for event in owner.events() if event.turn_id == "next"]
    assert "".join(last) == "2 b'2'"


async def test_attempts_that_store_something_are_not_in_vain(ran: Ran) -> None:
    """Of ten attempts that are allowed each stores something, so that the turn comes to its end in its fourteenth."""
    store, most = RecordingStore(durable=True), 13

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        latest = ctx.storage.latest
        await latest.put("number", str(int(await latest.get("number") or b"0") + 1).encode())
        if ctx.attempt <= most:
            ran.called("stops")
            await asyncio.get_running_loop().create_future()
        yield str(await latest.get("number"))

    for attempt in range(1, most + 1):
        async with acting(agent, store=store, epoch=Epoch(EPOCH + attempt), lost=True) as lost:
            if attempt == 1:
                await lost.submit("t")
            await ran.until_called("stops", attempt)
    async with acting(agent, store=store, epoch=Epoch(EPOCH + 20), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_completed"]
        last = max(event.attempt for event in owner.events())
        assert "".join(event.text_delta.text for event in owner.events() if event.attempt == last) == "b'14'"
