"""The turns that wait."""

import asyncio

import pytest

from agent_node.session.mailbox import Mailbox, WaitingTurn
from agentring.errors import MailboxFull
from agentring.v1 import session_pb2


def waiting(turn_id: str) -> WaitingTurn:
    return WaitingTurn(turn_id, session_pb2.Input())


async def test_first_come_first_served() -> None:
    mailbox = Mailbox(3)
    for name in "abc":
        mailbox.put(waiting(name))
    assert [(await mailbox.get()).turn_id for _ in range(3)] == ["a", "b", "c"]
    assert len(mailbox) == 0


def test_it_is_bounded() -> None:
    mailbox = Mailbox(1)
    mailbox.put(waiting("a"))
    with pytest.raises(MailboxFull):
        mailbox.put(waiting("b"))
    assert len(mailbox) == 1


def test_a_turn_can_be_taken_back_once() -> None:
    mailbox = Mailbox(2)
    mailbox.put(waiting("a"))
    mailbox.put(waiting("b"))
    assert [mailbox.take_back("a"), mailbox.take_back("a")] == [True, False]
    assert [each.turn_id for each in mailbox.take_back_all()] == ["b"]
    assert len(mailbox) == 0


async def test_a_cancelled_reader_loses_no_turn() -> None:
    mailbox = Mailbox(1)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.put(waiting("a"))
        reader.cancel()
    assert (await mailbox.get()).turn_id == "a"


async def test_a_waiting_reader_gets_the_next_turn() -> None:
    mailbox = Mailbox(1)
    reader = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    assert not reader.done()
    mailbox.put(waiting("a"))
    assert (await reader).turn_id == "a"


async def test_a_reader_that_was_woken_for_a_turn_taken_back_goes_on_waiting() -> None:
    mailbox = Mailbox(1)
    reader = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put(waiting("a"))
    assert mailbox.take_back("a")
    await asyncio.sleep(0)
    assert not reader.done()
    mailbox.put(waiting("b"))
    assert (await reader).turn_id == "b"


def test_there_is_capacity_once_a_turn_is_taken_back() -> None:
    mailbox = Mailbox(1)
    mailbox.put(waiting("a"))
    with pytest.raises(MailboxFull):
        mailbox.check_capacity()
    mailbox.take_back("a")
    mailbox.check_capacity()


@pytest.mark.parametrize("when", ["while it waits", "before it asks", "although turns wait"])
async def test_its_reader_gets_the_failure(when: str) -> None:
    mailbox = Mailbox(1)
    if when == "although turns wait":
        mailbox.put(waiting("a"))
    if when != "while it waits":
        mailbox.fail(OSError("no store"))
    reader = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    if when == "while it waits":
        mailbox.fail(OSError("no store"))
    with pytest.raises(OSError, match="no store"):
        await reader
