"""What comes while a response is being written, and how it is divided into responses."""

import asyncio

import pytest

from agent_node.events.attachment import Attachment
from agent_node.events.entries import READ_BYTES
from agent_node.events.log import EventLog
from agent_node.services.streaming import stream
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event
from harness.read_events import next_of

LONG_S = 60.0


@pytest.fixture
def log() -> EventLog:
    return EventLog(Epoch(1), 1 << 20)


def write_text(log: EventLog, text: str, turn_id: str = "t") -> None:
    log.append_text(turn_id, 1, 0, text)


def pushed(name: str) -> Event:
    return Event(turn_id=name, turn_rejected=session_pb2.TurnRejected())


class Writes:
    """What a stream was sent, and a peer that reads only when it is let."""

    def __init__(self) -> None:
        self.sent: list[list[Event]] = []
        self.pending = asyncio.Event()
        """Set once a response is being written."""
        self._done = asyncio.Event()

    async def send_encoded(self, response: bytes) -> None:
        """As Call: returns once the response is written."""
        self.sent.append(list(session_pb2.WatchSessionResponse.FromString(response).events))
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
        """The text of each response's events."""
        return [[event.text_delta.text for event in events] for events in self.sent]


async def test_many_pushed_events_are_taken_in_parts_and_in_order(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        names = [str(i) for i in range(2_000)]
        await attachment.push([pushed(name) for name in names])
        taken: list[str] = []
        while len(taken) < len(names):
            part = await next_of(attachment)
            assert part
            assert sum(event.ByteSize() for event in part) <= READ_BYTES
            taken += [event.turn_id for event in part]
    assert taken == names


async def test_a_large_pushed_event_travels_alone(log: EventLog) -> None:
    large = pushed("x" * 2 * READ_BYTES)
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([pushed("a"), pushed("b"), large, pushed("c")])
        parts = [await next_of(attachment) for _ in range(3)]
    assert parts == [[pushed("a"), pushed("b")], [large], [pushed("c")]]


async def test_what_comes_while_a_write_is_pending_goes_together_in_the_next_one(log: EventLog) -> None:
    writes = Writes()
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: 104 if log.head_seq == 104 else None)
        streaming = asyncio.ensure_future(stream(writes, attachment))
        write_text(log, "first ")
        await writes.pending.wait()
        assert writes.texts == [["first "]]  # nothing was pending: at once, and alone
        for _ in range(100):
            write_text(log, "x")
            await asyncio.sleep(0)
        log.append(Event(turn_id="t", state_changed=session_pb2.StateChanged()))
        write_text(log, "y")
        await writes.finish()
        write_text(log, "last")
        await writes.finish()
        writes.end()
        await streaming
    assert writes.texts == [["first "], ["x" * 100, "", "y"], ["last"]]
    assert [(event.first_seq, event.seq) for event in writes.sent[1]] == [(2, 101), (0, 102), (0, 103)]


async def test_text_whose_writes_are_done_before_the_next_comes_goes_piece_by_piece(log: EventLog) -> None:
    writes = Writes()
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: 3 if log.head_seq == 3 else None)
        streaming = asyncio.ensure_future(stream(writes, attachment))
        for word in "abc":
            writes.pending.clear()
            write_text(log, word)
            await writes.pending.wait()
            writes.end()
        await streaming
    assert writes.texts == [["a"], ["b"], ["c"]]


async def test_a_stream_that_must_not_merge_sends_every_event_alone(log: EventLog) -> None:
    writes = Writes()
    with Attachment(log, 0, heartbeat_s=LONG_S, merge_bytes=0) as attachment:
        await attachment.push([pushed("a"), pushed("b")])
        for word in "xyz":
            write_text(log, word)
        attachment.end_after(lambda: 3)
        streaming = asyncio.ensure_future(stream(writes, attachment))
        await writes.pending.wait()
        for _ in range(4):
            await writes.finish()
        writes.end()
        await streaming
    assert [len(events) for events in writes.sent] == [1] * 5
    assert writes.texts == [[""], [""], ["x"], ["y"], ["z"]]
    assert [event.seq for (event,) in writes.sent] == [0, 0, 1, 2, 3]


async def test_two_that_push_take_turns(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        await attachment.push([pushed("a")])
        others = [asyncio.ensure_future(attachment.push([pushed(name)])) for name in "bc"]
        taken = []
        for _ in range(3):
            taken += [event.turn_id for event in await next_of(attachment) or []]
            await asyncio.sleep(0)
        await asyncio.gather(*others)
    assert sorted(taken) == ["a", "b", "c"]
