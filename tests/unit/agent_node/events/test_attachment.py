"""One stream as a reader of an event log: what it is sent, in which order, and when it ends."""

import asyncio
import traceback

import pytest

from agent_node.events.attachment import Attachment
from agent_node.events.log import EventLog
from agentring.cluster.lease import FenceReason
from agentring.errors import NodeDraining, NodeFenced, SecondOpen
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from harness.clock import FakeClock
from harness.premises import TTL_S, lease_on
from harness.read_events import next_of

LONG_S = 60.0


@pytest.fixture
def log() -> EventLog:
    return EventLog(Epoch(1), 1 << 20)


def write_text(log: EventLog, text: str, turn_id: str = "t") -> None:
    log.append_text(turn_id, 1, 0, text)


def pushed(name: str) -> Event:
    return Event(turn_id=name, turn_rejected=session_pb2.TurnRejected())


async def test_it_is_sent_what_comes_after_its_seq_and_waits_for_more(log: EventLog) -> None:
    write_text(log, "before")
    with Attachment(log, 1, heartbeat_s=LONG_S) as attachment:
        waiting = asyncio.ensure_future(next_of(attachment))
        await asyncio.sleep(0)
        assert not waiting.done()
        write_text(log, "after")
        events = await waiting
    assert events is not None
    assert [event.text_delta.text for event in events] == ["after"]
    assert attachment.through_seq == 2
    assert log.readers == 0


async def test_pushed_events_come_first_and_do_not_change_its_seq(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        write_text(log, "x")
        await attachment.push([pushed("a")])
        first, second = await next_of(attachment), await next_of(attachment)
    assert first is not None
    assert second is not None
    assert [event.turn_id for event in first] == ["a"]
    assert [event.seq for event in second] == [1]


async def test_a_push_waits_until_the_stream_has_taken_the_one_before(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([pushed("a")])
        second = asyncio.ensure_future(attachment.push([pushed("b")]))
        await asyncio.sleep(0)
        assert not second.done()
        assert await next_of(attachment) == [pushed("a")]
        await second
        assert await next_of(attachment) == [pushed("b")]


async def test_it_ends_once_it_was_sent_all_it_is_owed_even_if_the_log_has_ended(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        write_text(log, "x")
        attachment.end_after(lambda: 1)
        log.end(NodeDraining())
        assert await next_of(attachment) != []
        assert await next_of(attachment) is None


async def test_it_ends_with_the_logs_end_or_its_own_error_after_what_is_stored(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as one, Attachment(log, 0, heartbeat_s=LONG_S) as other:
        write_text(log, "x")
        one.fail(SecondOpen())
        log.end(NodeDraining())
        for attachment, error in ((one, SecondOpen), (other, NodeDraining)):
            assert await next_of(attachment) != []
            with pytest.raises(error):
                await next_of(attachment)


async def test_it_can_be_of_one_turn_alone(log: EventLog) -> None:
    with Attachment(log, 0, turn_id="b", heartbeat_s=LONG_S) as attachment:
        write_text(log, "x", "a")
        write_text(log, "y", "b")
        write_text(log, "z", "a")
        events = await next_of(attachment)
    assert events is not None
    assert [event.text_delta.text for event in events] == ["y"]
    assert attachment.through_seq == 3


async def test_a_reader_that_fell_behind_gets_a_gap() -> None:
    log = EventLog(Epoch(1), 64 << 10)
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        for i in range(200):
            log.append_text("t", 1, i * 1_000, "x" * 1_000)
        events = await next_of(attachment)
    assert events is not None
    assert events[0].HasField("gap")
    assert (events[0].first_seq, events[0].seq) == (1, log.oldest_seq - 1)


async def test_it_is_sent_nothing_after_its_end_however_busy_the_log_is(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        write_text(log, "mine")
        attachment.end_after(lambda: 1)
        for _ in range(3):
            write_text(log, "another's", "b")
        assert [event.seq for event in await next_of(attachment) or []] == [1]
        write_text(log, "another's", "b")
        assert await next_of(attachment) is None


async def test_its_end_is_met_once_it_is_known(log: EventLog) -> None:
    end_seq: int | None = None
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: end_seq)
        write_text(log, "x")
        assert await next_of(attachment) != []
        waiting = asyncio.ensure_future(next_of(attachment))
        await asyncio.sleep(0)
        assert not waiting.done()
        write_text(log, "y")
        end_seq = 2
        assert await waiting != []
        assert await next_of(attachment) is None


async def test_its_own_error_comes_after_what_was_there_however_busy_the_log_is(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        write_text(log, "before")
        attachment.fail(SecondOpen())
        write_text(log, "after")
        assert [event.text_delta.text for event in await next_of(attachment) or []] == ["before"]
        write_text(log, "after")
        with pytest.raises(SecondOpen):
            await next_of(attachment)


async def test_pushing_nothing_wakes_none_for_ever(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([])
        await attachment.push([pushed("a")])
        assert await next_of(attachment) == [pushed("a")]


async def test_a_cancelled_next_loses_nothing(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        waiting = asyncio.ensure_future(next_of(attachment))
        await asyncio.sleep(0)
        write_text(log, "x")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert [event.seq for event in await next_of(attachment) or []] == [1]


async def test_many_streams_that_meet_the_logs_end_leave_nothing_with_it(log: EventLog) -> None:
    log.end(NodeDraining())
    depths = []
    for _ in range(3):
        with Attachment(log, 0, heartbeat_s=LONG_S) as attachment, pytest.raises(NodeDraining) as raised:
            await next_of(attachment)
        depths.append(sum(1 for _ in traceback.walk_tb(raised.value.__traceback__)))
    assert depths == [depths[0]] * 3


async def test_once_it_is_fenced_nothing_is_sent_that_the_log_still_holds(log: EventLog) -> None:
    """A process that was frozen over its fence: the events were written before, and their reader is woken first."""
    clock = FakeClock()
    lease = lease_on(clock)
    with Attachment(log, 0, heartbeat_s=LONG_S, check=lease.check_delivery) as attachment:
        write_text(log, "before")
        assert await next_of(attachment)
        write_text(log, "held back")
        clock.advance(TTL_S)
        with pytest.raises(NodeFenced):
            await next_of(attachment)


async def test_a_lease_that_was_given_up_lets_the_last_events_through(log: EventLog) -> None:
    """A drained node owes its readers what it published before it left."""
    lease = lease_on(FakeClock())
    with Attachment(log, 0, heartbeat_s=LONG_S, check=lease.check_delivery) as attachment:
        write_text(log, "last words")
        log.end(NodeDraining())
        lease.fence(FenceReason.REVOKED)
        assert await next_of(attachment)
        with pytest.raises(NodeDraining):
            await next_of(attachment)


async def test_what_the_log_does_not_have_comes_first_and_changes_the_seq(log: EventLog) -> None:
    for text in ("a", "b", "c", "d", "e", "f"):
        log.append(Event(turn_id=text, heartbeat=session_pb2.Heartbeat()))
    missing = [Event(seq=2, first_seq=2, turn_id="x" * 80), Event(seq=4, first_seq=3, turn_id="y" * 80)]
    with Attachment(log, 1, heartbeat_s=LONG_S, merge_bytes=100, missing=missing) as attachment:
        sent = []
        for _ in range(3):
            events = await next_of(attachment) or []
            sent.append((attachment.through_seq, [event.turn_id[0] for event in events]))
        assert sent == [(2, ["x"]), (4, ["y"]), (6, ["e", "f"])]
