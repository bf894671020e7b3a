"""What a turn publishes at one go travels in one response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from agent_node.events.attachment import Attachment
from agentring.agent import AgentEvent, Context
from harness.calls import FakeConversation
from harness.premises import Stage
from harness.read_events import next_of
from harness.sessions import acting, kind_of
from harness.stores import RecordingStore

T = TypeVar("T")


async def wordy(ctx: Context) -> AsyncIterator[AgentEvent]:
    for word in ("a ", "few ", "words"):
        yield word
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1


def ended(stream: FakeConversation, turn_id: str) -> bool:
    return turn_id in [event.turn_id for event in stream.of("turn_completed")]


class InProcessStore(RecordingStore):
    """Whose methods wait for nothing."""

    waits = False

    async def _call(self, _method: str, write: Callable[[], Awaitable[T]]) -> T:
        return await write()


async def test_a_turn_that_awaits_nothing_is_answered_in_one_response() -> None:
    async with acting(wordy, store=InProcessStore()) as actor:
        stream = FakeConversation(actor.session)
        stream.open()
        for turn_id in ("a", "b"):
            stream.turn(turn_id)
            await stream.until(partial(ended, stream, turn_id))
        stream.close()
        await stream.served
    together = [[kind_of(event) for event in response.events] for response in stream.responses if response.events]
    # The first one may have come while the stream was being opened.
    assert together[-1:] == [["turn_accepted", "turn_started", "text_delta", "state_changed", "turn_completed"]]


async def test_an_idle_stream_sends_an_event_within_three_rounds_of_the_loop(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        with Attachment(actor.session.log, 0, heartbeat_s=60.0) as attachment:
            waiting = asyncio.ensure_future(next_of(attachment))
            for _ in range(5):
                await asyncio.sleep(0)
            actor.session.log.append_text("t", 1, 0, "a token")
            for _ in range(4):  # it wakes, and looks two rounds later
                await asyncio.sleep(0)
            assert waiting.done()
