"""When a stream's frames are acknowledged, and when it is silent no longer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest

from agent_node.events.attachment import ACK_WITHIN_S, Attachment
from agent_node.events.log import EventLog
from agentring.errors import NodeDraining, SecondOpen
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


async def test_an_acknowledgement_goes_alone_when_no_event_comes(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(3)
        async with asyncio.timeout(5):
            assert await next_of(attachment) == []
        assert attachment.acked_frame == 3


async def test_silence_is_broken_by_a_heartbeat(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=0.01) as attachment:
        async with asyncio.timeout(5):
            events = await next_of(attachment)
    assert events is not None
    assert [event.WhichOneof("body") for event in events] == ["heartbeat"]


async def test_an_acknowledgement_travels_with_an_event(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(3)
        write_text(log, "x")
        assert [event.seq for event in await next_of(attachment) or []] == [1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * ACK_WITHIN_S):
                await next_of(attachment)


async def test_an_acknowledgement_is_not_put_off_by_more_of_them(log: EventLog, ticking: Ticking) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        numbers = count(1)
        ticking(lambda: attachment.ack(next(numbers)))
        began_s = asyncio.get_running_loop().time()
        assert await next_of(attachment) == []
        assert attachment.acked_frame > 1
        assert await next_of(attachment) == []
        assert ACK_WITHIN_S < asyncio.get_running_loop().time() - began_s < LONG_S / 2


async def test_another_turns_text_puts_off_neither_the_acknowledgement_nor_the_heartbeat(
    log: EventLog, ticking: Ticking
) -> None:
    with Attachment(log, 0, turn_id="mine", heartbeat_s=0.15) as attachment:
        attachment.ack(1)
        ticking(lambda: write_text(log, "x", "another's"))
        async with asyncio.timeout(5):
            assert await next_of(attachment) == []
            (heartbeat,) = await next_of(attachment) or []
        assert heartbeat.HasField("heartbeat")
        assert attachment.through_seq > 0


async def test_its_end_waits_for_the_acknowledgement(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.end_after(lambda: 0)
        attachment.ack(2)
        log.end(NodeDraining())
        async with asyncio.timeout(5):
            assert [await next_of(attachment), await next_of(attachment)] == [[], None]


async def test_its_own_error_does_not_wait_for_an_acknowledgement(log: EventLog) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(1)
        attachment.fail(SecondOpen())
        with pytest.raises(SecondOpen):
            await next_of(attachment)


async def test_a_frame_is_acknowledged_only_with_the_last_of_what_it_is_answered(log: EventLog) -> None:
    """Another node would not send the rest again."""
    with Attachment(log, 0, heartbeat_s=LONG_S, merge_bytes=100) as attachment:
        attachment.ack(1)
        await attachment.push([])
        answers = [Event(turn_id="x" * 80, heartbeat=session_pb2.Heartbeat()) for _ in range(3)]
        await attachment.push(answers)
        attachment.ack(2)
        acked = []
        for _ in answers:
            assert len(await next_of(attachment) or ()) == 1
            acked.append(attachment.acked_frame)
        assert acked == [0, 0, 2]


async def test_a_stream_that_is_owed_nothing_ends_without_waiting_for_an_event_to_acknowledge_with(
    log: EventLog,
) -> None:
    with Attachment(log, 0, heartbeat_s=LONG_S) as attachment:
        attachment.ack(1)
        attachment.end_after(lambda: 0)
        began_s = asyncio.get_running_loop().time()
        assert await next_of(attachment) == []
        assert attachment.acked_frame == 1
        assert await next_of(attachment) is None
        assert asyncio.get_running_loop().time() - began_s < ACK_WITHIN_S / 2
