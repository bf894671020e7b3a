"""Converse streams that the router resumes: over another connection, at the same node or at the next owner."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

from agentring import metadata
from agentring.agent import AgentEvent, Context
from agentring.v1.session_pb2 import ConverseRequest, Event
from harness.calls import FakeConversation
from harness.sessions import EPOCH, Actor
from harness.streams import first_seq

STREAM = {metadata.STREAM_ID: "stream", metadata.SESSION_ID: "s"}


async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Says its input, character by character."""
    for character in ctx.input_text:
        yield character


def begin_stream(actor: Actor, after_seq: int | None = None) -> FakeConversation:
    """A stream that begins here."""
    stream = FakeConversation(actor.session, dict(STREAM))
    stream.open(after_seq)
    return stream


def resume_stream(
    actor: Actor, frames: str, after_seq: int | None, *, begins_after: int | None = 0, epoch: int = EPOCH
) -> FakeConversation:
    """A stream that the router resumes here. frames: first and last, as it says them."""
    sent = STREAM | {metadata.FRAMES: frames, metadata.EPOCH: str(epoch)}
    if after_seq is not None:
        sent[metadata.AFTER_SEQ] = str(after_seq)
    if begins_after is not None:
        sent[metadata.BEGINS_AFTER] = str(begins_after)
    stream = FakeConversation(actor.session, sent)
    if int(frames.split()[0]) > 1:
        stream.frame(ConverseRequest())  # in place of what was acknowledged
    return stream


async def lose(stream: FakeConversation) -> None:
    """The stream's connection breaks."""
    stream.served.cancel()
    await asyncio.wait([stream.served])


def assert_continues(events: list[Event], after_seq: int) -> None:
    """No number after a seq is missing, and none comes twice."""
    covered = [(first_seq(event), event.seq) for event in events if event.seq]
    for (_, before), (first, last) in pairwise([(0, after_seq), *covered]):
        assert first == before + 1 <= last, covered
