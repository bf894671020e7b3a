"""Turns that memory has forgotten, and events that it has dropped, are still known."""

from collections.abc import AsyncIterator

from agent_node.events.attachment import Attachment
from agent_node.events.entries import READ_BYTES
from agentring.agent import AgentEvent, Context
from agentring.ids import Epoch
from agentring.v1.session_pb2 import ON_BUSY_INTERRUPT, ON_BUSY_REJECT, Event
from harness.premises import Stage
from harness.read_events import next_of
from harness.sessions import EPOCH, Actor, acting, kind_of
from harness.stores import RecordingStore
from harness.streams import assert_gapless

NEXT = Epoch(EPOCH + 1)


RANGE = 10_000


async def read_from(actor: Actor, after_seq: int, through_seq: int, merge_bytes: int = READ_BYTES) -> list[Event]:
    """What a stream is sent that begins after a seq."""
    events: list[Event] = []
    with Attachment(actor.session.log, after_seq, heartbeat_s=60, merge_bytes=merge_bytes) as attachment:
        attachment.end_after(lambda: through_seq)
        while (more := await next_of(attachment)) is not None:
            events += more
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event.text_delta.text for event in events)


async def test_a_turn_that_memory_has_forgotten_is_still_known_and_disturbs_no_other() -> None:
    stage, store = Stage(), RecordingStore(durable=True)
    async with acting(stage.held, store=store) as actor:
        actor.session.turns._max_bytes = 1
        stage.go.set()
        for turn_id in ("old", "later"):
            await actor.submit(turn_id)
            await actor.until(lambda t=turn_id: f"turn_completed {t}" in actor.kinds)  # type: ignore[misc]
        assert actor.session.turns.get("old") is None
        assert not await actor.submit("old")  # found by the write that would accept it
        await actor.submit("later")
        assert actor.session.turns.get("old") is None
        stage.go.clear()
        await actor.submit("running")
        for on_busy in (ON_BUSY_REJECT, ON_BUSY_INTERRUPT):
            assert not await actor.submit("old", on_busy=on_busy)
        assert actor.session.running_turn_id == "running"
        assert (await actor.session.cancel("later")).end_seq is not None
        stage.go.set()
        assert await actor.until_ended("running") == ["turn_completed"]
        assert stage.runs == 3


async def test_the_end_of_a_followed_turn_is_known_though_memory_has_forgotten_it() -> None:
    stage = Stage()
    async with acting(stage.held) as actor:
        actor.session.turns._max_bytes = 1
        await actor.submit("a")
        followed = actor.session.turns.follow(actor.session.turn("a"))
        assert followed.seq is None
        stage.go.set()
        await actor.submit("b")
        await actor.until(lambda: "turn_completed b" in actor.kinds)
        assert actor.session.turns.get("a") is None
        ends = {event.turn_id: event.seq for event in actor.events() if event.HasField("turn_completed")}
        assert followed.seq == ends["a"]


async def test_a_long_turn_leaves_memory_with_its_end_and_not_before() -> None:
    async def talking(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(100):
            yield "x" * 1_000
        stage.begun.set()
        await stage.go.wait()

    stage = Stage()
    for durable in (True, False):
        stage = Stage()
        async with acting(talking, store=RecordingStore(durable=durable)) as actor:
            log = actor.session.log
            await actor.submit("a")
            await stage.begun.wait()
            assert log._bytes > 100_000
            stage.go.set()
            await actor.until_ended("a")
            assert (log._bytes < 2 * READ_BYTES) is durable
            assert log.oldest_seq == 1
            events = await read_from(actor, 0, log.head_seq)
            assert assert_gapless(events, 0) == log.head_seq
            assert text_of(events) == "x" * 100_000


async def test_a_cancelled_turns_end_that_was_lost_with_its_node_is_sent_to_a_resumed_stream() -> None:
    stage, store = Stage(), RecordingStore(durable=True, seq_range=RANGE)
    async with acting(stage.held, store=store) as lost:
        await lost.submit("runs")
        await stage.begun.wait()
        await lost.submit("waits")
        seen_seq = lost.session.log.head_seq
        await lost.session.cancel("waits")
    stage.go.set()
    async with acting(stage.held, store=store, epoch=NEXT) as actor:
        missed = actor.session.missing.after(seen_seq)
        assert [(event.turn_id, kind_of(event)) for event in missed] == [("waits", "turn_cancelled")]
        with Attachment(actor.session.log, 0, heartbeat_s=60, missing=actor.session.missing.after(0)) as attachment:
            events = await next_of(attachment)
            assert events is not None
            assert [kind_of(event) for event in events] == ["gap", "turn_cancelled"]
            following = await next_of(attachment)
            assert following is not None
            assert kind_of(following[0]) == "attempt_restarted"
