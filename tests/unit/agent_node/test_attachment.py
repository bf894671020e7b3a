"""One stream's place in an event log."""

import asyncio

import pytest

from agent_node.attachment import Attachment
from agent_node.event_log import EventLog
from agentring.errors import NodeDraining, SecondOpen
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event

LONG_S = 60.0


@pytest.fixture
def log() -> EventLog:
    return EventLog(Epoch(1), 1 << 20)


def words(log: EventLog, text: str, turn_id: str = "t") -> None:
    log.append_text(turn_id, 1, 0, text)


def told(name: str) -> Event:
    return Event(turn_id=name, turn_rejected=session_pb2.TurnRejected())


async def test_it_is_sent_what_comes_after_its_place_and_waits_for_more(log: EventLog) -> None:
    words(log, "before")
    with Attachment(log, 1, heartbeat_s=LONG_S) as attachment:
        waiting = asyncio.ensure_future(attachment.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        words(log, "after")
        events = await waiting
    assert events is not None
    assert [event.text_delta.text for event in events] == ["after"]
    assert attachment.through_seq == 2
    assert log.readers == 0


async def test_what_it_alone_is_told_comes_first_and_does_not_move_its_place(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        words(log, "x")
        await attachment.tell([told("a")])
        first, second = await attachment.next(), await attachment.next()
    assert first is not None
    assert second is not None
    assert [event.turn_id for event in first] == ["a"]
    assert [event.seq for event in second] == [1]


async def test_who_tells_waits_until_the_stream_has_taken_what_it_was_told(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.tell([told("a")])
        second = asyncio.ensure_future(attachment.tell([told("b")]))
        await asyncio.sleep(0)
        assert not second.done()
        assert await attachment.next() == [told("a")]
        await second
        assert await attachment.next() == [told("b")]


async def test_an_acknowledgement_goes_alone_when_no_event_comes(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(3)
        async with asyncio.timeout(5):
            assert await attachment.next() == []
        assert attachment.acked_frame == 3


async def test_silence_is_broken_by_a_heartbeat(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=0.01) as attachment:
        async with asyncio.timeout(5):
            events = await attachment.next()
    assert events is not None
    assert [event.WhichOneof("body") for event in events] == ["heartbeat"]


async def test_it_ends_once_it_was_sent_all_it_is_owed_even_if_the_log_has_ended(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        words(log, "x")
        attachment.end_after(lambda: 1)
        log.end(NodeDraining())
        assert await attachment.next() != []
        assert await attachment.next() is None


async def test_it_ends_with_the_logs_end_or_its_own_error_after_what_is_stored(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as one, Attachment(log, 0, heartbeat_s=LONG_S) as other:
        words(log, "x")
        one.fail(SecondOpen())
        log.end(NodeDraining())
        for attachment, error in ((one, SecondOpen), (other, NodeDraining)):
            assert await attachment.next() != []
            with pytest.raises(error):
                await attachment.next()


async def test_it_can_be_of_one_turn_alone(log: EventLog) -> None:
    with Attachment(log, 0, turn_id="b", heartbeat_s=LONG_S) as attachment:
        words(log, "x", "a")
        words(log, "y", "b")
        words(log, "z", "a")
        events = await attachment.next()
    assert events is not None
    assert [event.text_delta.text for event in events] == ["y"]
    assert attachment.through_seq == 3


async def test_a_reader_that_fell_behind_is_told_of_the_gap() -> None:
    log = EventLog(Epoch(1), 64 << 10)
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        for i in range(200):
            log.append_text("t", 1, i * 1_000, "x" * 1_000)
        events = await attachment.next()
    assert events is not None
    assert events[0].HasField("gap")
    assert (events[0].first_seq, events[0].seq) == (1, log.oldest_seq - 1)
