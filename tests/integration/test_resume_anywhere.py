"""A turn of 500 events can be read from every seq, through any router, before and after its node was lost."""

import asyncio
import signal
from collections.abc import Callable

from grpc import aio

from agentring.v1.session_pb2 import Event
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.streams import Conversation, assert_gapless, first_seq, merged, watch

TOKENS = 500
PIECES = [f"wörd{number}🎉 " for number in range(TOKENS)]
FIRST_WORDS_SEQ = 3
"""After the turn's acceptance and its start."""


def text_after(seq: int) -> str:
    return "".join(PIECES[max(0, seq + 1 - FIRST_WORDS_SEQ) :])


async def resume(channel: aio.Channel, after_seq: int, end_seq: int) -> list[Event]:
    """What a stream that begins there is told, up to the turn's end."""
    stream = watch(channel, "s", after_seq)
    await stream.until_seq(end_seq)
    stream.call.cancel()
    return [event for event in stream.events if first_seq(event) <= end_seq and not event.HasField("heartbeat")]


async def assert_resumes(channel: aio.Channel, seqs: range, end_seq: int) -> None:
    """At all of them at once."""
    resumed = await asyncio.gather(*(resume(channel, after_seq, end_seq) for after_seq in seqs))
    for after_seq, events in zip(seqs, resumed, strict=True):
        assert assert_gapless(events, after_seq) == end_seq
        assert "".join(event.text_delta.text for event in events) == text_after(after_seq)
        if after_seq < end_seq:
            assert events[-1].WhichOneof("body") == "turn_completed"


async def test_every_seq_during_a_turn_after_it_and_after_its_node_was_lost(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, routers=2)
    async with connect(cluster.router) as channel, connect(cluster.routers["r2"].address) as other:
        conversation = Conversation(channel)
        opened = await conversation.open("s")
        sent = turn("".join(PIECES), tokens=TOKENS, rate=400)
        await conversation.turn(sent)
        await conversation.until_seq(TOKENS // 2)
        end_seq = FIRST_WORDS_SEQ + TOKENS
        during = asyncio.create_task(assert_resumes(other, range(0, TOKENS // 2, 2), end_seq))
        await conversation.close()
        await during
        assert assert_gapless(conversation.events, 0) == conversation.through_seq == end_seq
        await assert_resumes(other, range(end_seq + 1), end_seq)

        cluster.nodes[opened.node_id].process.stop(signal.SIGKILL)
        await assert_resumes(other, range(0, end_seq + 1, 2), end_seq)
        await assert_resumes(channel, range(1, end_seq + 1, 2), end_seq)
        received = await run_turn(other, "s", sent)
    assert merged(received.events) == merged(conversation.events)
    assert received.node != opened.node_id
    assert [line["turn"] for line in cluster.audit("turn_started")] == [sent.turn_id]
