"""Questions in every store: found by the next activation while their turn has not ended, recognised for as long as the
session lives."""

from dataclasses import replace

from agent_node.store import Ownership, Store, StoredInput
from agentring.ids import parse_session
from harness.stored_turns import accepted, cancelled, epoch

REF, OTHER = parse_session("", "s"), parse_session("other", "s")
ASKED = StoredInput("t1.1", "t1", 1, question=b"\x12\x07really?")
ANSWERED = replace(ASKED, waits=0, answer=b"\x0a\x03yes")


def owned(revision: int) -> Ownership:
    return Ownership(REF, epoch(revision), "n1/1")


async def test_questions_and_answers_are_found_while_their_turn_is_open(store: Store) -> None:
    assert (await store.activate(owned(3), "agent")).inputs == {}
    await store.accept_turn(owned(3), accepted(1), None)
    await store.keep_input(owned(3), ASKED)
    second = StoredInput("t1.2", "t1", 2)
    await store.keep_input(owned(3), second)
    await store.keep_input(owned(3), ANSWERED)
    assert (await store.activate(owned(4), "agent")).inputs == {"t1.1": ANSWERED, "t1.2": second}
    await store.end_turn(owned(4), cancelled(accepted(1)), 9)
    assert (await store.activate(owned(5), "agent")).inputs == {}
    assert await store.read_input(REF, "t1.1") == ANSWERED


async def test_a_question_is_its_own_sessions_alone(store: Store) -> None:
    await store.activate(owned(3), "agent")
    await store.accept_turn(owned(3), accepted(1), None)
    await store.keep_input(owned(3), ASKED)
    assert await store.read_input(OTHER, "t1.1") is None
    assert await store.read_input(REF, "t1.2") is None


async def test_an_empty_answer_is_an_answer(store: Store) -> None:
    await store.activate(owned(3), "agent")
    await store.accept_turn(owned(3), accepted(1), None)
    await store.keep_input(owned(3), replace(ASKED, answer=b""))
    assert (await store.activate(owned(4), "agent")).inputs["t1.1"].answer == b""
