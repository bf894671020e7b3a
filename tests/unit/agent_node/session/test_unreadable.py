"""What earlier releases stored and no release can read: the rest of a session's log is sent, and every turn's end."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from agent_node.events.attachment import Attachment
from agent_node.events.whole_log import all_events
from agent_node.store import StoredTask
from agent_node.store.readable import UNREADABLE, to_event
from agent_node.task.run import described, restored
from agentring.agent import AgentEvent, Context, Result
from agentring.ids import Epoch, parse_task
from agentring.v1 import session_pb2, store_pb2, task_pb2
from agentring.v1.session_pb2 import Event
from harness import deep
from harness.read_events import next_of
from harness.sessions import Actor, acting, kind_of
from harness.stores import RecordingStore
from harness.streams import assert_gapless


async def _look(at: str) -> str:
    return at


async def telling(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "before "
    await ctx.tool("look", _look, at="it")
    yield "after"
    yield Result({"n": 1})


async def sent(actor: Actor, through_seq: int) -> list[Event]:
    events: list[Event] = []
    with Attachment(actor.session.log, 0, heartbeat_s=60) as attachment:
        attachment.end_after(lambda: through_seq)
        while (more := await next_of(attachment)) is not None:
            # As it is sent, and as a client reads it.
            sent = session_pb2.ConverseResponse(events=more).SerializeToString()
            events += session_pb2.ConverseResponse.FromString(sent).events
    assert_gapless(events, 0)
    return events


def deepen(events: list[Event], *bodies: str) -> list[bytes]:
    return [
        deep.deepened(event.SerializeToString(), kind_of(event))
        if kind_of(event) in bodies
        else event.SerializeToString()
        for event in events
    ]


@pytest.mark.parametrize("bodies", [("tool_call",), ("turn_completed",), ("tool_call", "turn_completed")], ids="+".join)
async def test_of_a_sessions_log_all_else_is_sent(bodies: tuple[str, ...]) -> None:
    async with acting(telling, store=RecordingStore(durable=True)) as actor:
        await actor.submit("a")
        await actor.until_ended("a")
        actor.session.log._max_bytes = 1  # so that memory forgets it
        await actor.submit("b")
        await actor.until_ended("b")
        rows = actor.store.memory._events[actor.session.ref]
        whole = [each.event for row in rows for each in store_pb2.StoredEvents.FromString(row.events).events]
        of_a = [event for event in whole if event.turn_id == "a"]
        rows[:] = [
            replace(rows[0], first_seq=1, seq=of_a[-1].seq, events=deep.stored_events(deepen(of_a, *bodies))),
            *(row for row in rows if row.first_seq > of_a[-1].seq),
        ]
        events = await sent(actor, actor.session.log.head_seq)
    changed = {event.seq for event in of_a if kind_of(event) in bodies}
    assert [event for event in events if event.seq not in changed] == [
        event for event in whole if event.seq not in changed
    ]
    for event in events:
        if event.seq in changed and kind_of(event) == "gap":
            assert event.gap.reason == UNREADABLE
        elif event.seq in changed:
            ended = event.turn_completed
            assert (ended.result_lost, ended.HasField("result"), ended.text_bytes) == (UNREADABLE, False, 12)
    assert [event.seq for event in events if event.gap.reason] == [
        event.seq for event in of_a if kind_of(event) == "tool_call" and "tool_call" in bodies
    ]


@pytest.mark.parametrize("depth", [28, 31, 32, 33, 40, 1_000])
def test_an_outcome_is_readable_as_it_is_sent(depth: int) -> None:
    end = Event(seq=9, turn_id="t", attempt=1, turn_completed=session_pb2.TurnCompleted(text_bytes=3))
    event = to_event(deep.deepened(end.SerializeToString(), "turn_completed", depth))
    sent = session_pb2.ConverseResponse(events=[event]).SerializeToString()
    assert session_pb2.ConverseResponse.FromString(sent).events[0] == event
    ended = event.turn_completed
    assert (event.seq, event.turn_id, ended.text_bytes) == (9, "t", 3)
    assert ended.HasField("result") is not (ended.result_lost == UNREADABLE)
    assert ended.HasField("result") is (depth <= 32)


def test_damage_is_no_depth() -> None:
    for damaged in (b"\xff", b"\xff" * 500, b"", b"\x00" * 300):
        if damaged:
            with pytest.raises(DecodeError):
                to_event(damaged)


def stored(events: list[Any], outcome: bytes) -> StoredTask:
    return StoredTask(
        ref=parse_task("", "key"),
        agent="agent",
        input=b"",
        fingerprint=b"",
        retention_s=60,
        cancel_when_unwatched=False,
        request_id="r",
        state=task_pb2.TASK_STATE_COMPLETED,
        epoch=Epoch(7),
        owner="n1/1",
        attempt=1,
        created_ns=1,
        ended_ns=2,
        outcome=outcome,
        events=deep.event_log(events),
    )


def test_an_ended_task_is_sent_again() -> None:
    events = [
        Event(seq=1, attempt=1, turn_started=session_pb2.TurnStarted(node_id="n1")),
        Event(seq=2, attempt=1, tool_call=session_pb2.ToolCall(call_id="c", name="look")),
        Event(seq=3, attempt=1, text_delta=session_pb2.TextDelta(text="words")),
    ]
    outcome = Event(seq=4, attempt=1, turn_completed=session_pb2.TurnCompleted(text_bytes=5))
    row = stored(deepen(events, "tool_call"), deepen([outcome], "turn_completed")[0])
    log = all_events(restored(row).log)
    assert [kind_of(event) for event in log] == ["turn_started", "gap", "text_delta", "turn_completed"]
    assert (log[1].seq, log[1].gap.reason) == (2, UNREADABLE)
    assert log[-1].turn_completed.result_lost == UNREADABLE
    task = described(row)
    assert (task.text, task.HasField("result")) == ("words", False)
