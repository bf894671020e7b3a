"""Reading again, reading along, and going away: what a stream is owed does not depend on who else reads, or when."""

import asyncio
from collections.abc import Sequence

import pytest
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from agentring.v1.session_pb2 import Event
from harness.client import TIMEOUT_S, connect, run_task, run_turn, turn
from harness.cluster import Cluster
from harness.streams import PIECES, TEXT, Conversation, MergedText, Stream, assert_gapless, first_seq, merged, watch

Sessions, Tasks = session_pb2_grpc.SessionServiceStub, task_pb2_grpc.TaskServiceStub


def _text_after(seq: int) -> str:
    """What TEXT has after a number, in a session's first turn: words begin with the third."""
    return "".join(PIECES[max(0, seq - 2) :])


@pytest.mark.parametrize("method", ["WatchSession", "Converse"])
async def test_a_resume_gets_exactly_what_comes_after_its_seq(channel: aio.Channel, name: str, method: str) -> None:
    received = await run_turn(channel, name, turn(TEXT))
    head_seq = received.events[-1].seq
    whole = merged(received.events)

    async def resume(after_seq: int) -> None:
        if method == "WatchSession":
            stream = watch(channel, name, after_seq)
            await stream.until_seq(head_seq)
            stream.call.cancel()
        else:
            conversation = Conversation(channel)
            stream = conversation
            opened = await conversation.open(name, after_seq=after_seq)
            assert (opened.head_seq, opened.oldest_seq) == (head_seq, 1)
            await conversation.close()
        assert assert_gapless(stream.events, after_seq) == head_seq
        assert stream.text == _text_after(after_seq)
        deltas = [event for event in stream.events if event.HasField("text_delta")]
        if deltas:
            assert deltas[0].text_delta.offset == len(TEXT.encode()) - len(_text_after(after_seq).encode())
        others = [event for event in merged(stream.events) if not isinstance(event, MergedText)]
        assert others == [event for event in whole if not isinstance(event, MergedText) and event.seq > after_seq]
        # Whoever joins is sent the user's words, too.
        accepted = [event for event in stream.events if event.HasField("turn_accepted")]
        assert [event.turn_accepted.input.text for event in accepted] == ([TEXT] if after_seq == 0 else [])

    await asyncio.gather(*(resume(after_seq) for after_seq in range(head_seq + 1)))


async def test_a_task_can_be_resumed_at_every_seq(channel: aio.Channel, name: str) -> None:
    received = await run_task(channel, name, text=TEXT)
    head_seq = received.events[-1].seq
    assert received.kinds[0] == "turn_started"
    assert received.disposition == task_pb2.DISPOSITION_STARTED

    async def resume(after_seq: int) -> None:
        request = task_pb2.WatchTaskRequest(task_key=name, after_seq=after_seq)
        stream = Stream(Tasks(channel).WatchTask(request, timeout=TIMEOUT_S))
        await stream.until_end()
        assert assert_gapless(stream.events, after_seq) == head_seq
        assert stream.text == _text_after(after_seq + 1)

    await asyncio.gather(*(resume(after_seq) for after_seq in range(head_seq)))
    at_end = Stream(Tasks(channel).WatchTask(task_pb2.WatchTaskRequest(task_key=name), timeout=TIMEOUT_S))
    await at_end.until_end()
    assert at_end.events == []


def _is_over(stream: Stream) -> bool:
    return "turn_completed" in stream.kinds


async def test_a_stream_cut_off_anywhere_goes_on_without_loss_or_repetition(channel: aio.Channel, name: str) -> None:
    stream: Stream = Conversation(channel)
    assert isinstance(stream, Conversation)
    await stream.open(name)
    turn_id = await stream.turn(turn(tokens=60, rate=300))
    received: list[session_pb2.Event] = []
    seq = 0
    while not (received and received[-1].HasField("turn_completed")):
        due = seq + 10
        await stream.until_true(lambda: _is_over(stream) or stream.through_seq >= due, "ten more")  # noqa: B023
        received += stream.events
        seq = stream.through_seq
        stream.call.cancel()
        stream = watch(channel, name, seq)
    stream.call.cancel()
    assert assert_gapless(received, 0) == seq
    whole = merged(received)
    assert isinstance(whole[2], MergedText)
    assert whole[2].text == "".join(f"token{n} " for n in range(60))
    assert whole[2].turn_id == turn_id


async def test_all_streams_of_a_session_are_told_the_same(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as one, connect(cluster.router) as two:
        first = Conversation(one)
        opened = await first.open(name)
        async with connect(cluster.nodes[opened.node_id].address) as direct:
            streams: list[Conversation] = [first, Conversation(two), Conversation(direct)]
            for stream in streams[1:]:
                await stream.open(name)
            watching = watch(two, name)
            a = await first.turn(turn(TEXT, tokens=30, rate=200))
            b = await streams[1].turn(turn(TEXT))
            for each in (*streams, watching):
                await each.until("turn_completed", a)
                await each.until("turn_completed", b)
            for stream in streams:
                await stream.close()
            watching.call.cancel()
    whole = merged(first.events)
    assert assert_gapless(first.events, 0) == first.through_seq
    for each in (*streams[1:], watching):
        assert merged(each.events) == whole
    # Of a turn that it sent itself a stream has the input.
    assert [_has_inputs(each.events, a, b) for each in (*streams, watching)] == [
        [False, True],
        [True, False],
        [True, True],
        [True, True],
    ]


async def test_a_late_stream_is_told_only_what_comes_from_then_on(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("before"))
    conversation = Conversation(channel)
    opened = await conversation.open(name)
    assert opened.head_seq == received.events[-1].seq
    await conversation.turn(turn("after"))
    await conversation.close()
    assert conversation.text == "after"
    assert assert_gapless(conversation.events, opened.head_seq) == 2 * opened.head_seq


@pytest.mark.parametrize("method", ["Converse", "RunTurn"])
async def test_going_away_does_not_cancel_a_turn(channel: aio.Channel, name: str, method: str) -> None:
    sent = turn(tokens=20, rate=100)
    if method == "Converse":
        stream: Stream = Conversation(channel)
        assert isinstance(stream, Conversation)
        await stream.open(name)
        await stream.turn(sent)
    else:
        request = session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=sent)
        stream = Stream(Sessions(channel).RunTurn(request, timeout=TIMEOUT_S))
    await stream.until("text_delta")
    stream.call.cancel()
    watching = watch(channel, name)
    ended = await watching.until("turn_completed")
    watching.call.cancel()
    assert (ended.turn_id, dict(ended.turn_completed.result)) == (sent.turn_id, {"tokens": 20})
    assert watching.text == "".join(f"token{n} " for n in range(20))


async def test_a_broken_connection_does_not_cancel_a_turn(cluster: Cluster, routed: aio.Channel, name: str) -> None:
    async with connect(cluster.router) as doomed:
        conversation = Conversation(doomed)
        await conversation.open(name)
        await conversation.turn(turn(tokens=20, rate=100))
        await conversation.until("text_delta")
    watching = watch(routed, name)
    ended = await watching.until("turn_completed")
    watching.call.cancel()
    assert dict(ended.turn_completed.result) == {"tokens": 20}


async def test_going_away_does_not_cancel_a_task(channel: aio.Channel, name: str) -> None:
    request = task_pb2.RunTaskRequest(task_key=name, agent="echo")
    request.input.data.update({"tokens": 20, "rate": 100})
    stream = Stream(Tasks(channel).RunTask(request, timeout=TIMEOUT_S))
    await stream.until("text_delta")
    stream.call.cancel()
    received = await run_task(channel, name, tokens=20, rate=100)
    assert received.disposition in (task_pb2.DISPOSITION_JOINED, task_pb2.DISPOSITION_REPLAYED)
    assert received.result == {"tokens": 20}
    assert received.kinds.count("turn_started") == 1


async def test_a_turn_handed_in_can_be_watched(channel: aio.Channel, name: str) -> None:
    request = session_pb2.SubmitTurnRequest(session_id=name, agent="echo", turn=turn("not this"))
    await Sessions(channel).SubmitTurn(request, timeout=TIMEOUT_S)
    request.turn.CopyFrom(turn("hi there"))
    accepted = await Sessions(channel).SubmitTurn(request, timeout=TIMEOUT_S)
    assert (accepted.turn_id, accepted.state) == (request.turn.turn_id, session_pb2.TURN_STATE_ACCEPTED)
    watching = watch(channel, name, accepted.accepted_seq - 1)
    ended = await watching.until("turn_completed", accepted.turn_id)
    watching.call.cancel()
    assert watching.events[0].HasField("turn_accepted")
    assert first_seq(watching.events[0]) == accepted.accepted_seq
    own = [event for event in watching.events if event.turn_id == accepted.turn_id]
    assert "".join(event.text_delta.text for event in own) == "hi there"
    repeated = await Sessions(channel).SubmitTurn(request, timeout=TIMEOUT_S)
    assert (repeated.turn_id, repeated.accepted_seq) == (accepted.turn_id, accepted.accepted_seq)
    assert repeated.state == session_pb2.TURN_STATE_COMPLETED
    assert ended.turn_id == accepted.turn_id


async def test_a_turn_without_an_id_is_given_one(channel: aio.Channel, name: str) -> None:
    request = session_pb2.SubmitTurnRequest(session_id=name, agent="echo", turn=session_pb2.Turn())
    ids = [(await Sessions(channel).SubmitTurn(request, timeout=TIMEOUT_S)).turn_id for _ in range(3)]
    assert len(set(ids)) == 3
    conversation = Conversation(channel)
    await conversation.open(name)
    for _ in range(3):
        await conversation.turn(session_pb2.Turn())
    await conversation.close()
    ended = {event.turn_id for event in conversation.events if event.HasField("turn_completed")} - set(ids)
    assert len(ended) == 3
    assert "" not in ended


async def test_an_ended_turn_is_replayed_and_not_run_again(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    sent = turn(TEXT)
    first = await run_turn(channel, name, sent)
    await run_turn(channel, name, turn("between"))
    repeated = await run_turn(channel, name, sent)
    assert merged(repeated.events) == merged(first.events)
    conversation = Conversation(channel)
    await conversation.open(name)
    await conversation.turn(sent)
    await conversation.turn(turn("after"))
    await conversation.close()
    replayed = [event for event in conversation.events if event.turn_id == sent.turn_id]
    assert merged(replayed) == merged(first.events)
    assert [line["turn"] for line in cluster.audit("turn_started") if line["session"] == name].count(sent.turn_id) == 1


async def test_a_running_turn_is_joined_by_who_sends_it_again(
    cluster: Cluster, channel: aio.Channel, name: str
) -> None:
    sent = turn(tokens=40, rate=100)
    first = Conversation(channel)
    await first.open(name)
    await first.turn(sent)
    await first.until("text_delta")
    second = Conversation(channel)
    await second.open(name)
    await second.turn(sent)
    request = session_pb2.RunTurnRequest(session_id=name, turn=sent)
    third = Stream(Sessions(channel).RunTurn(request, timeout=TIMEOUT_S))
    await asyncio.gather(first.close(), second.close(), third.until_end())
    expected = "".join(f"token{n} " for n in range(40))
    for stream in (first, third):
        assert stream.text == expected
        assert merged(stream.events) == merged(first.events)
    # The second one gets what came before its turn, too, beside what comes now: offsets and numbers put it right.
    numbers: set[int] = set()
    words = bytearray(len(expected))
    for event in second.events:
        numbers.update(range(first_seq(event), event.seq + 1))
        raw = event.text_delta.text.encode()
        words[event.text_delta.offset : event.text_delta.offset + len(raw)] = raw
    assert words.decode() == expected
    assert numbers == set(range(first.events[-1].seq + 1))
    assert second.kinds.count("turn_completed") == 1
    assert len([line for line in cluster.audit("turn_started") if line["session"] == name]) == 1


async def test_a_turn_within_the_limits_can_be_read_again_whole(channel: aio.Channel, name: str) -> None:
    sent = turn("words", bytes=1 << 20)
    first = await run_turn(channel, name, sent, agent="faulty")
    assert first.events[-1].turn_completed.text_bytes == 1 << 20
    repeated = await run_turn(channel, name, sent, agent="faulty")
    assert len(repeated.text) == 1 << 20


def _has_inputs(events: Sequence[Event], *turn_ids: str) -> list[bool]:
    accepted = {event.turn_id: event for event in events if event.HasField("turn_accepted")}
    return [accepted[turn_id].turn_accepted.HasField("input") for turn_id in turn_ids]
