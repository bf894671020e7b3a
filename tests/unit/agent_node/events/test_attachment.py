"""One stream's place in an event log."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest
from google.protobuf.message import Message

from agent_node.events.attachment import ACK_WITHIN_S, Attachment
from agent_node.events.entries import READ_BYTES
from agent_node.events.log import EventLog
from agent_node.services.streaming import stream
from agentring.cluster.lease import FenceReason
from agentring.errors import NodeDraining, NodeFenced, SecondOpen
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from harness.clock import FakeClock
from harness.premises import TTL_S, lease_on

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
        await attachment.push([told("a")])
        first, second = await attachment.next(), await attachment.next()
    assert first is not None
    assert second is not None
    assert [event.turn_id for event in first] == ["a"]
    assert [event.seq for event in second] == [1]


async def test_who_tells_waits_until_the_stream_has_taken_what_it_was_told(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([told("a")])
        second = asyncio.ensure_future(attachment.push([told("b")]))
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


@pytest.fixture
async def ticking() -> AsyncIterator[Callable[[Callable[[], object]], None]]:
    """Does something again and again, every few milliseconds, until the test ends."""
    ticks: list[asyncio.Task[None]] = []

    async def tick(act: Callable[[], object]) -> None:
        while True:
            act()
            await asyncio.sleep(0.002)

    yield lambda act: ticks.append(asyncio.ensure_future(tick(act)))
    for each in ticks:
        each.cancel()
    await asyncio.wait(ticks)


Ticking = Callable[[Callable[[], object]], None]


async def test_an_acknowledgement_travels_with_an_event(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(3)
        words(log, "x")
        assert [event.seq for event in await attachment.next() or []] == [1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * ACK_WITHIN_S):
                await attachment.next()


async def test_an_acknowledgement_is_not_put_off_by_more_of_them(log: EventLog, ticking: Ticking) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        numbers = count(1)
        ticking(lambda: attachment.ack(next(numbers)))
        began_s = asyncio.get_running_loop().time()
        assert await attachment.next() == []
        assert attachment.acked_frame > 1
        assert await attachment.next() == []
        assert ACK_WITHIN_S < asyncio.get_running_loop().time() - began_s < LONG_S / 2


async def test_another_turns_words_put_off_neither_the_acknowledgement_nor_the_heartbeat(
    log: EventLog, ticking: Ticking
) -> None:
    with Attachment(log, 0, turn_id="mine", heartbeat_s=0.15) as attachment:
        attachment.ack(1)
        ticking(lambda: words(log, "x", "another's"))
        async with asyncio.timeout(5):
            assert await attachment.next() == []
            (heartbeat,) = await attachment.next() or []
        assert heartbeat.HasField("heartbeat")
        assert attachment.through_seq > 0


async def test_it_is_sent_nothing_after_its_end_however_busy_the_log_is(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        words(log, "mine")
        attachment.end_after(lambda: 1)
        for _ in range(3):
            words(log, "another's", "b")
        assert [event.seq for event in await attachment.next() or []] == [1]
        words(log, "another's", "b")
        assert await attachment.next() is None


async def test_its_end_waits_for_the_acknowledgement(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: 0)
        attachment.ack(2)
        log.end(NodeDraining())
        async with asyncio.timeout(5):
            assert [await attachment.next(), await attachment.next()] == [[], None]


async def test_its_end_is_met_once_it_is_known(log: EventLog) -> None:
    end_seq: int | None = None
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: end_seq)
        words(log, "x")
        assert await attachment.next() != []
        waiting = asyncio.ensure_future(attachment.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        words(log, "y")
        end_seq = 2
        assert await waiting != []
        assert await attachment.next() is None


async def test_its_own_error_comes_after_what_was_there_however_busy_the_log_is(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        words(log, "before")
        attachment.fail(SecondOpen())
        words(log, "after")
        assert [event.text_delta.text for event in await attachment.next() or []] == ["before"]
        words(log, "after")
        with pytest.raises(SecondOpen):
            await attachment.next()


async def test_its_own_error_does_not_wait_for_an_acknowledgement(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(1)
        attachment.fail(SecondOpen())
        with pytest.raises(SecondOpen):
            await attachment.next()


async def test_a_long_aside_is_taken_in_parts_and_in_order(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        names = [str(i) for i in range(2_000)]
        await attachment.push([told(name) for name in names])
        taken: list[str] = []
        while len(taken) < len(names):
            part = await attachment.next()
            assert part
            assert sum(event.ByteSize() for event in part) <= READ_BYTES
            taken += [event.turn_id for event in part]
    assert taken == names


async def test_a_large_event_aside_travels_alone(log: EventLog) -> None:
    large = told("x" * 2 * READ_BYTES)
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([told("a"), told("b"), large, told("c")])
        parts = [await attachment.next() for _ in range(3)]
    assert parts == [[told("a"), told("b")], [large], [told("c")]]


class Writes:
    """What a stream was sent, and a peer that reads only when it is let."""

    def __init__(self) -> None:
        self.sent: list[list[Event]] = []
        self.pending = asyncio.Event()
        """Set once a response is being written."""
        self._done = asyncio.Event()

    async def send(self, response: Message) -> None:
        """As Call: returns once the response is written."""
        assert isinstance(response, session_pb2.WatchSessionResponse)
        self.sent.append(list(response.events))
        self.pending.set()
        await self._done.wait()
        self._done.clear()

    async def finish(self) -> None:
        """The response that is being written is written; returns when the next one is."""
        self.pending.clear()
        self._done.set()
        await self.pending.wait()

    def end(self) -> None:
        """As `finish`, where no response follows."""
        self._done.set()

    @property
    def texts(self) -> list[list[str]]:
        """The words of each response's events."""
        return [[event.text_delta.text for event in events] for events in self.sent]


async def test_what_comes_while_a_write_is_pending_goes_together_in_the_next_one(log: EventLog) -> None:
    writes = Writes()
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: 104 if log.head_seq == 104 else None)
        streaming = asyncio.ensure_future(stream(writes, attachment, session_pb2.WatchSessionResponse))
        words(log, "first ")
        await writes.pending.wait()
        assert writes.texts == [["first "]]  # nothing was pending: at once, and alone
        for _ in range(100):
            words(log, "x")
            await asyncio.sleep(0)
        log.append(Event(turn_id="t", state_changed=session_pb2.StateChanged()))
        words(log, "y")
        await writes.finish()
        words(log, "last")
        await writes.finish()
        writes.end()
        await streaming
    assert writes.texts == [["first "], ["x" * 100, "", "y"], ["last"]]
    assert [(event.first_seq, event.seq) for event in writes.sent[1]] == [(2, 101), (0, 102), (0, 103)]


async def test_words_whose_writes_are_done_before_the_next_come_go_one_by_one(log: EventLog) -> None:
    writes = Writes()
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: 3 if log.head_seq == 3 else None)
        streaming = asyncio.ensure_future(stream(writes, attachment, session_pb2.WatchSessionResponse))
        for word in "abc":
            writes.pending.clear()
            words(log, word)
            await writes.pending.wait()
            writes.end()
        await streaming
    assert writes.texts == [["a"], ["b"], ["c"]]


async def test_a_stream_that_must_not_merge_sends_every_event_alone(log: EventLog) -> None:
    writes = Writes()
    with Attachment(log, 0, heartbeat_s=LONG_S, merge_bytes=0) as attachment:
        await attachment.push([told("a"), told("b")])
        for word in "xyz":
            words(log, word)
        attachment.end_after(lambda: 3)
        streaming = asyncio.ensure_future(stream(writes, attachment, session_pb2.WatchSessionResponse))
        await writes.pending.wait()
        for _ in range(4):
            await writes.finish()
        writes.end()
        await streaming
    assert [len(events) for events in writes.sent] == [1] * 5
    assert writes.texts == [[""], [""], ["x"], ["y"], ["z"]]
    assert [event.seq for (event,) in writes.sent] == [0, 0, 1, 2, 3]


async def test_two_that_tell_take_turns(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([told("a")])
        others = [asyncio.ensure_future(attachment.push([told(name)])) for name in "bc"]
        taken = []
        for _ in range(3):
            taken += [event.turn_id for event in await attachment.next() or []]
            await asyncio.sleep(0)
        await asyncio.gather(*others)
    assert sorted(taken) == ["a", "b", "c"]


async def test_telling_nothing_wakes_nobody_for_ever(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([])
        await attachment.push([told("a")])
        assert await attachment.next() == [told("a")]


async def test_a_cancelled_next_loses_nothing(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        waiting = asyncio.ensure_future(attachment.next())
        await asyncio.sleep(0)
        words(log, "x")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert [event.seq for event in await attachment.next() or []] == [1]


async def test_many_streams_that_meet_the_logs_end_leave_nothing_with_it(log: EventLog) -> None:
    log.end(NodeDraining())
    depths = []
    for _ in range(3):
        with Attachment(log, 0, heartbeat_s=LONG_S) as attachment, pytest.raises(NodeDraining) as raised:
            await attachment.next()
        depths.append(sum(1 for _ in traceback.walk_tb(raised.value.__traceback__)))
    assert depths == [depths[0]] * 3


async def test_once_it_is_fenced_nothing_is_told_that_the_log_still_holds(log: EventLog) -> None:
    """A process that was frozen over its fence: the events were written before, and their reader is woken first."""
    clock = FakeClock()
    lease = lease_on(clock)
    with Attachment(log, 0, heartbeat_s=LONG_S, check=lease.check_delivery) as attachment:
        words(log, "before")
        assert await attachment.next()
        words(log, "held back")
        clock.advance(TTL_S)
        with pytest.raises(NodeFenced):
            await attachment.next()


async def test_a_lease_that_was_given_up_lets_the_last_events_through(log: EventLog) -> None:
    """A drained node owes its readers what it told before it left."""
    lease = lease_on(FakeClock())
    with Attachment(log, 0, heartbeat_s=LONG_S, check=lease.check_delivery) as attachment:
        words(log, "last words")
        log.end(NodeDraining())
        lease.fence(FenceReason.REVOKED)
        assert await attachment.next()
        with pytest.raises(NodeDraining):
            await attachment.next()


async def test_a_frame_is_acknowledged_only_with_the_last_of_what_it_is_answered(log: EventLog) -> None:
    """Another node would not tell the rest again."""
    with Attachment(log, 0, heartbeat_s=LONG_S, merge_bytes=100) as attachment:
        attachment.ack(1)
        await attachment.push([])
        answers = [Event(turn_id="x" * 80, heartbeat=session_pb2.Heartbeat()) for _ in range(3)]
        await attachment.push(answers)
        attachment.ack(2)
        acked = []
        for _ in answers:
            assert len(await attachment.next() or ()) == 1
            acked.append(attachment.acked_frame)
        assert acked == [0, 0, 2]


async def test_what_the_log_does_not_have_comes_first_and_moves_the_place(log: EventLog) -> None:
    for text in ("a", "b", "c", "d", "e", "f"):
        log.append(Event(turn_id=text, heartbeat=session_pb2.Heartbeat()))
    missing = [Event(seq=2, first_seq=2, turn_id="x" * 80), Event(seq=4, first_seq=3, turn_id="y" * 80)]
    with Attachment(log, 1, heartbeat_s=LONG_S, merge_bytes=100, missing=missing) as attachment:
        told = []
        for _ in range(3):
            events = await attachment.next() or []
            told.append((attachment.through_seq, [event.turn_id[0] for event in events]))
        assert told == [(2, ["x"]), (4, ["y"]), (6, ["e", "f"])]


async def test_a_stream_that_is_owed_nothing_ends_without_waiting_for_an_event_to_acknowledge_with(
    log: EventLog,
) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(1)
        attachment.end_after(lambda: 0)
        began_s = asyncio.get_running_loop().time()
        assert await attachment.next() == []
        assert attachment.acked_frame == 1
        assert await attachment.next() is None
        assert asyncio.get_running_loop().time() - began_s < ACK_WITHIN_S / 2
