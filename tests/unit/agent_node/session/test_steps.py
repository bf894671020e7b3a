"""The steps of a session's turn over its owners: recorded under the session's compares, gone with the turn's end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent_node.store.step_records import Life, StepState
from agentring.agent import Agent, AgentEvent, Context
from agentring.errors import StaleEpoch, StoreUnavailable
from agentring.ids import Epoch
from harness.attempts import Ran
from harness.sessions import EPOCH, REF, Actor, acting, quick
from harness.stores import RecordingStore

DURABLE = pytest.mark.parametrize("durable", [True, False])


@pytest.fixture
def ran() -> Ran:
    return Ran()


def stepping(ran: Ran, go: asyncio.Event, *, idempotent: bool = True) -> Agent:
    """Runs the step a, then the step b, which lasts until it may go on."""

    async def b() -> str:
        ran.called("b")
        await go.wait()
        return "b"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        yield str(await ctx.step("b", b, idempotent=idempotent))

    return agent


def life_of(actor: Actor, turn_id: str = "t") -> Life:
    return Life(REF.tenant, actor.session.turn(turn_id).life_id)


def text_of(actor: Actor) -> str:
    """Of the last attempt."""
    events = actor.events()
    last = max(event.attempt for event in events)
    return "".join(event.text_delta.text for event in events if event.attempt == last)


async def test_a_turn_goes_on_at_its_last_finished_step_and_leaves_nothing(ran: Ran) -> None:
    go, store = asyncio.Event(), RecordingStore(durable=True)
    async with acting(stepping(ran, go), store=store) as lost:
        await lost.submit("t")
        await ran.until_called("b")
        life = life_of(lost)
        assert [row.name for row in await store.steps.read(life, 0)] == ["a"]
    go.set()
    async with acting(stepping(ran, go), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        assert life_of(owner) == life
        assert await owner.until_ended("t") == ["turn_completed"]
        assert text_of(owner) == "ab"
    assert ran.calls == {"a": 1, "b": 2}
    assert list(await store.steps.read(life, 0)) == []
    assert ("step_recorded", "t") in owner.audit.lines


async def test_a_turn_without_steps_writes_and_reads_nothing_of_steps() -> None:
    store = RecordingStore(durable=True)
    async with acting(quick, store=store) as actor:
        await actor.submit("t")
        await actor.until_ended("t")
    assert [call for call in store.calls if call != "release"] == ["accept_turn", "commit_turn"]
    assert store.steps.kept == []
    assert not any(turn.may_have_steps for turn in store.turns)


@pytest.mark.parametrize("error", [StoreUnavailable(), StaleEpoch()])
async def test_a_commit_that_fails_is_the_session_s_failure(ran: Ran, error: Exception) -> None:
    store = RecordingStore(durable=True)
    store.errors["keep_steps"] = error
    go = asyncio.Event()
    async with acting(stepping(ran, go), store=store) as actor:
        await actor.submit("t")
        await asyncio.wait([actor.runner])
        assert actor.failure is error
        assert actor.session.turn("t").end_seq is None
    store.errors.clear()
    go.set()
    async with acting(stepping(ran, go), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_completed"]
    assert ran.calls == {"a": 2, "b": 1}


async def test_what_waits_for_its_commit_when_its_turn_ends_is_not_written(ran: Ran) -> None:
    store = RecordingStore(durable=True)
    left: list[asyncio.Task[object]] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("a", ran.effect, "a"))
        left.append(asyncio.ensure_future(ctx.step("left", ran.effect, "left")))
        await ran.until_called("left")

    async with acting(agent, store=store) as actor:
        await actor.submit("t")
        assert await actor.until_ended("t") == ["turn_completed"]
        await asyncio.wait(left)
        await actor.submit("next")
        assert await actor.until_ended("next") == ["turn_completed"]
        await asyncio.wait(left)
        assert actor.failure is None
    for turn_id in ("t", "next"):
        assert list(await store.steps.read(life_of(actor, turn_id), 0)) == []


async def test_a_cancelled_turn_leaves_no_steps_and_its_step_has_no_outcome(ran: Ran) -> None:
    store, go = RecordingStore(durable=True), asyncio.Event()
    async with acting(stepping(ran, go), store=store) as actor:
        await actor.submit("t")
        await ran.until_called("b")
        life = life_of(actor)
        await actor.session.cancel("t")
        assert await actor.until_ended("t") == ["turn_cancelled"]
    assert list(await store.steps.read(life, -1)) == []
    assert [row.state for row in store.steps.kept] == [StepState.COMPLETED, StepState.ENDING]


async def test_a_turn_that_is_cancelled_in_its_second_attempt_leaves_none_of_the_first(ran: Ran) -> None:
    store, go = RecordingStore(durable=True), asyncio.Event()
    async with acting(stepping(ran, go), store=store) as lost:
        await lost.submit("t")
        await ran.until_called("b")
        life = life_of(lost)
    async with acting(stepping(ran, go), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        await owner.session.cancel("t")
    assert list(await store.steps.read(life, 0)) == []


async def test_one_that_must_not_run_twice_is_not_run_by_the_next_owner(ran: Ran) -> None:
    store, go = RecordingStore(durable=True), asyncio.Event()
    async with acting(stepping(ran, go, idempotent=False), store=store) as lost:
        await lost.submit("t")
        await ran.until_called("b")
    go.set()
    async with acting(stepping(ran, go, idempotent=False), store=store, epoch=Epoch(EPOCH + 1), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_failed"]
    assert ran.calls == {"a": 1, "b": 1}
    assert [row.state for row in store.steps.kept[1:]] == [StepState.STARTED, StepState.UNKNOWN]


async def test_attempts_count_only_where_no_step_was_gained(ran: Ran) -> None:
    """Of ten attempts that are allowed each gains a step, so that the turn comes to its end in its fourteenth."""
    store, steps = RecordingStore(durable=True), 12

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for number in range(steps):
            await ctx.step("a", ran.effect, number)
            if number == ctx.attempt - 1:
                ran.called("stops")
                await asyncio.get_running_loop().create_future()
        yield "end"

    for attempt in range(1, steps + 1):
        async with acting(agent, store=store, epoch=Epoch(EPOCH + attempt), lost=True) as lost:
            if attempt == 1:
                await lost.submit("t")
            await ran.until_called("stops", attempt)
    async with acting(agent, store=store, epoch=Epoch(EPOCH + 20), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_completed"]
    assert [ran.calls[number] for number in range(steps)] == [1] * steps


async def test_a_turn_whose_attempts_gain_nothing_fails_after_as_many_as_are_allowed(ran: Ran) -> None:
    store = RecordingStore(durable=True)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.step("a", ran.effect, "a")
        ran.called("stops")
        await asyncio.get_running_loop().create_future()
        yield ""

    for attempt in range(1, 12):
        async with acting(agent, store=store, epoch=Epoch(EPOCH + attempt), lost=True) as lost:
            if attempt == 1:
                await lost.submit("t")
            await ran.until_called("stops", attempt)
    async with acting(agent, store=store, epoch=Epoch(EPOCH + 20), lost=True) as owner:
        assert await owner.until_ended("t") == ["turn_failed"]
        assert owner.events()[-1].turn_failed.reason == "ATTEMPTS_EXHAUSTED"
    assert ran.calls["a"] == 1


@DURABLE
async def test_a_session_that_leaves_takes_no_step_along(ran: Ran, durable: bool) -> None:
    """A drain cuts the turn off (a durable store) or cancels it, while a step's commit is held up."""
    store, go = RecordingStore(durable=durable), asyncio.Event()
    held = store.hold("keep_steps")
    async with acting(stepping(ran, go), store=store) as actor:
        await actor.submit("t")
        await store.reached["keep_steps"].wait()
        draining = asyncio.ensure_future(actor.drain(0))
        for _ in range(9):  # the drain has cut the turn off by then, and waits for the commit
            await asyncio.sleep(0)
        held.set()
        await draining
        assert actor.failure is None
    assert (store.calls[-1] == "release") is durable
    assert [row.name for row in store.steps.kept] == ["a"]


async def test_turns_have_lives_of_their_own() -> None:
    store = RecordingStore(durable=True)
    async with acting(quick, store=store) as actor:
        for name in "ab":
            await actor.submit(name)
            await actor.until_ended(name)
        lives = {turn.life_id for turn in store.turns}
    assert len(lives) == 2
    assert all(len(each) == 32 for each in lives)
    assert replace(store.turns[0], life_id="") != store.turns[0]
