"""Each race between an answer, the turn that waits for it, its cancel and its next owner."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent_node.store import StoredInput
from agentring.agent import AgentEvent, Context
from agentring.errors import InputAnswered, NodeDraining
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from harness.questions import asking
from harness.sessions import EPOCH, REF, Actor, acting, kind_of
from harness.stores import RecordingStore

NEXT = Epoch(EPOCH + 1)


def durable() -> RecordingStore:
    return RecordingStore(durable=True)


async def until_asked(actor: Actor, input_id: str) -> None:
    await actor.until(lambda: input_id in [event.input_required.input_id for event in actor.events()])


async def reply(actor: Actor, input_id: str, text: str) -> None:
    await actor.session.reply(input_id, session_pb2.Input(text=text))


def text_of(actor: Actor, turn_id: str = "t") -> str:
    return "".join(event.text_delta.text for event in actor.events() if event.turn_id == turn_id)


async def test_two_answers_at_once_one_is_taken() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        release = store.hold("keep_input")
        first = asyncio.ensure_future(reply(actor, "t.1", "yes"))
        second = asyncio.ensure_future(reply(actor, "t.1", "no"))
        release.set()
        await first
        with pytest.raises(InputAnswered):
            await second
        await actor.until_ended("t")
        assert text_of(actor) == "yes"


async def test_an_answer_whose_sender_hung_up_is_taken_all_the_same() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        release, store.reached["keep_input"] = store.hold("keep_input"), asyncio.Event()
        sender = asyncio.ensure_future(reply(actor, "t.1", "yes"))
        await store.reached["keep_input"].wait()
        sender.cancel()
        release.set()
        assert await actor.until_ended("t") == ["turn_completed"]
        assert text_of(actor) == "yes"


async def test_a_cancel_while_an_answer_is_stored_ends_the_turn_once() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        release, store.reached["keep_input"] = store.hold("keep_input"), asyncio.Event()
        answering = asyncio.ensure_future(reply(actor, "t.1", "yes"))
        await store.reached["keep_input"].wait()
        cancelling = asyncio.ensure_future(actor.session.cancel("t"))
        release.set()
        await asyncio.gather(answering, cancelling)
        assert await actor.until_ended("t") == ["turn_cancelled"]
        assert sum(kind_of(event) == "turn_cancelled" for event in actor.events()) == 1
        await reply(actor, "t.1", "yes")  # it was acknowledged, and still is


async def test_an_answer_during_the_activation_is_not_overwritten_by_the_question() -> None:
    store = durable()
    async with acting(asking, store=store) as lost:
        await lost.submit("t", "1")
        await until_asked(lost, "t.1")
    release, store.reached["keep_input"] = store.hold("keep_input"), asyncio.Event()
    async with acting(asking, store=store, epoch=NEXT) as next_owner:
        await store.reached["keep_input"].wait()  # the run stores that it waits
        answering = asyncio.ensure_future(reply(next_owner, "t.1", "yes"))
        release.set()
        await answering
        assert await next_owner.until_ended("t") == ["turn_completed"]
        stored = await store.read_input(REF, "t.1")
        assert stored is not None
        assert stored.answer_message() == session_pb2.Input(text="yes")


async def test_an_answer_that_is_being_stored_is_not_overwritten_by_a_run_that_comes_to_its_question() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def gated(ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.attempt == 2:
            begun.set()
            await go.wait()
        yield (await ctx.ask("?")).text

    store = durable()
    async with acting(gated, store=store) as lost:
        await lost.submit("t")
        await until_asked(lost, "t.1")
    async with acting(gated, store=store, epoch=NEXT) as next_owner:
        await begun.wait()
        release, store.reached["keep_input"] = store.hold("keep_input"), asyncio.Event()
        answering = asyncio.ensure_future(reply(next_owner, "t.1", "yes"))
        await store.reached["keep_input"].wait()
        go.set()
        await asyncio.sleep(0)  # the run has come to its question
        await asyncio.sleep(0)
        release.set()
        await answering
        assert await next_owner.until_ended("t") == ["turn_completed"]
        stored = await store.read_input(REF, "t.1")
        assert stored is not None
        assert stored.answer_message() == session_pb2.Input(text="yes")


async def test_runs_that_were_cut_off_while_they_waited_do_not_count() -> None:
    store = durable()
    for number in range(12):
        async with acting(asking, store=store, epoch=Epoch(EPOCH + number)) as lost:
            if number == 0:
                await lost.submit("t", "1")
            await until_asked(lost, "t.1")
    async with acting(asking, store=store, epoch=Epoch(EPOCH + 12)) as last:
        assert last.env.limits.max_attempts < 12
        await reply(last, "t.1", "yes")
        assert await last.until_ended("t") == ["turn_completed"]
        assert last.events()[-1].attempt == 13


async def test_a_run_that_was_answered_before_it_was_cut_off_counts() -> None:
    answered = asyncio.Event()

    async def dying(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.ask("?")
        answered.set()
        await asyncio.Event().wait()
        yield ""

    store = durable()
    async with acting(dying, store=store) as actor:
        await actor.submit("t")
        await until_asked(actor, "t.1")
        question = session_pb2.InputRequired(prompt="?").SerializeToString()
        assert (await store.read_input(REF, "t.1")) == StoredInput("t.1", "t", waits=1, question=question)
        await reply(actor, "t.1", "yes")
        await answered.wait()
        stored = await store.read_input(REF, "t.1")
        assert stored is not None
        assert replace(stored, answer=None) == StoredInput("t.1", "t", waits=0, question=question)


async def test_a_drain_does_not_wait_for_an_answer_and_leaves_the_turn_to_the_next_owner() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        await actor.session.settle(timeout_s=3_600)
        late = asyncio.ensure_future(reply(actor, "t.1", "yes"))
        await actor.session.hand_on()
        actor.session.drop(NodeDraining())
        with pytest.raises(NodeDraining):
            await late
        assert actor.session.turn("t").end_seq is None
