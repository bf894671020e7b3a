"""Questions of turns and their answers: who may answer, what is open, and what a turn that waits holds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentring.agent import AgentEvent, Context
from agentring.errors import InputAnswered, InputNotFound, SessionMoving, StoreUnavailable
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from harness.questions import asking
from harness.sessions import EPOCH, REF, Actor, acting
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


def questions(actor: Actor) -> list[tuple[str, str]]:
    return [(asked.input_id, asked.prompt) for asked in actor.session.questions.open_questions()]


async def test_a_turn_waits_for_its_answers_and_those_behind_it_wait_too() -> None:
    async with acting(asking) as actor:
        await actor.submit("t", "2")
        await actor.submit("later", "0")
        await until_asked(actor, "t.1")
        assert (actor.session.running_turn_id, len(actor.session.mailbox)) == ("t", 1)
        await reply(actor, "t.1", "one")
        await until_asked(actor, "t.2")
        await reply(actor, "t.2", "two")
        assert await actor.until_ended("t", "later") == ["turn_completed", "turn_completed"]
        assert text_of(actor) == "one and two"


async def test_an_answer_is_taken_once_and_recognised_also_after_the_turn() -> None:
    async with acting(asking) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        await reply(actor, "t.1", "yes")
        await actor.until_ended("t")
        stored = await actor.store.read_input(REF, "t.1")
        assert stored is not None
        assert stored.answer_message() == session_pb2.Input(text="yes")
        await reply(actor, "t.1", "yes")
        with pytest.raises(InputAnswered):
            await reply(actor, "t.1", "no")


@pytest.mark.parametrize("input_id", ["", "t", "t.2", "t.1.1", "other.1", "t.\0", "\0.1", "t.٣", "t." + "1" * 500])
async def test_a_question_that_was_not_asked_is_not_found(input_id: str) -> None:
    async with acting(asking) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        with pytest.raises(InputNotFound):
            await reply(actor, input_id, "yes")


async def test_nothing_is_published_of_an_answer_that_the_store_did_not_take() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        store.errors["keep_input"] = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            await reply(actor, "t.1", "yes")
        assert text_of(actor) == ""


async def test_a_cancel_ends_a_turn_that_waits_and_its_question() -> None:
    async with acting(asking) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        await actor.session.cancel("t")
        assert await actor.until_ended("t") == ["turn_cancelled"]
        with pytest.raises(InputNotFound):
            await reply(actor, "t.1", "yes")


async def test_a_session_that_only_waits_for_an_answer_may_be_passivated() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        await actor.submit("t", "2")
        await actor.submit("later", "0")
        await until_asked(actor, "t.1")
        await reply(actor, "t.1", "one")
        await until_asked(actor, "t.2")
        assert actor.session.is_idle
        assert await actor.session.passivate()
        with pytest.raises(SessionMoving):
            await reply(actor, "t.2", "two")


async def test_a_turn_that_runs_again_has_its_answers_and_asks_only_what_is_open() -> None:
    store = durable()
    async with acting(asking, store=store) as lost:
        await lost.submit("t", "2")
        await lost.submit("later", "0")
        await until_asked(lost, "t.1")
        await reply(lost, "t.1", "one")
        await until_asked(lost, "t.2")
    async with acting(asking, store=store, epoch=NEXT) as next_owner:
        await reply(next_owner, "t.2", "two")  # perhaps before the run has come to its question
        assert await next_owner.until_ended("t", "later") == ["turn_completed", "turn_completed"]
        assert text_of(next_owner) == "one and two"
        assert "t.1" not in [event.input_required.input_id for event in next_owner.events()]


async def test_a_session_with_a_reader_or_a_turn_at_work_is_not_idle() -> None:
    async with acting(asking) as actor:
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        woken = asyncio.Event()
        actor.session.log.subscribe(woken)
        assert not await actor.session.passivate()
        actor.session.log.unsubscribe(woken)
        await reply(actor, "t.1", "yes")
        assert not actor.session.is_idle


async def test_what_is_open_is_known_to_later_callers_and_to_the_next_owner() -> None:
    store = durable()
    async with acting(asking, store=store) as actor:
        assert questions(actor) == []
        await actor.submit("t", "2")
        await until_asked(actor, "t.1")
        assert questions(actor) == [("t.1", "question 1?")]
        await actor.submit("later", "0")
        accepted = next(event for event in actor.events() if event.turn_id == "later")
        assert [asked.turn_id for asked in accepted.turn_accepted.questions] == ["t"]
        assert accepted.turn_accepted.turns_ahead == 1
        await reply(actor, "t.1", "one")
        await until_asked(actor, "t.2")
        assert questions(actor) == [("t.2", "question 2?")]
    async with acting(asking, store=store, epoch=NEXT) as following:
        assert questions(following) == [("t.2", "question 2?")]
        await until_asked(following, "t.2")
        await reply(following, "t.2", "two")
        await following.until_ended("t", "later")
        assert questions(following) == []


async def test_a_question_that_the_agent_gave_up_is_not_open() -> None:
    given_up = asyncio.Event()

    async def impatient(ctx: Context) -> AsyncIterator[AgentEvent]:
        waiting = asyncio.ensure_future(ctx.ask("?"))
        await asked.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        given_up.set()
        await asyncio.Event().wait()
        yield ""

    asked = asyncio.Event()
    async with acting(impatient) as actor:
        await actor.submit("t")
        await until_asked(actor, "t.1")
        assert questions(actor) == [("t.1", "?")]
        asked.set()
        await given_up.wait()
        assert questions(actor) == []


async def test_a_turn_that_waits_holds_no_slot_and_its_deadline_is_paused() -> None:
    async with acting(asking) as actor:
        slots = actor.session.slots
        free = slots._free
        await actor.submit("t", "1")
        await until_asked(actor, "t.1")
        assert slots._free == free
        await reply(actor, "t.1", "yes")
        await actor.until_ended("t")
        assert slots._free == free
