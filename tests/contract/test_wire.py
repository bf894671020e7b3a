"""What every answer on the wire begins with and adds up to: heads, initial metadata, numbering, offsets."""

import struct

import pytest
from google.protobuf.message import Message
from grpc import aio

from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, task_pb2
from agentring.v1.session_pb2 import ConverseRequest, Open
from harness.client import TIMEOUT_S, run_task, run_turn, turn
from harness.cluster import Cluster
from harness.raw import SESSIONS, TASKS, converse, exchange, open_stream
from harness.streams import PIECES, TEXT, Conversation, MergedText, assert_gapless, merged, watch

HEAD = struct.Struct("<BQBQ")


def _head(raw: bytes) -> tuple[int, int]:
    """through_seq and acked_frame, from the first 18 bytes, as a relay reads them."""
    through_tag, through_seq, acked_tag, acked_frame = HEAD.unpack_from(raw)
    assert (through_tag, acked_tag) == (0x09, 0x11), raw[:18].hex()
    return through_seq, acked_frame


async def _raw_answers(channel: aio.Channel, method: str, name: str, until_seq: int | None) -> list[bytes]:
    """A streaming call's answers as bytes: all of them, or until the seq where the stream has no end."""
    requests: dict[str, Message] = {
        "RunTurn": session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=turn("hi there", turn_id="t")),
        "WatchSession": session_pb2.WatchSessionRequest(session_id=name, after_seq=0),
        "RunTask": task_pb2.RunTaskRequest(task_key=name, agent="echo", input=session_pb2.Input(text="hi there")),
        "WatchTask": task_pb2.WatchTaskRequest(task_key=name, after_seq=0),
    }
    if method == "Converse":
        frames = [ConverseRequest(open=Open(session_id=name, after_seq=0)), ConverseRequest(turn=turn("again"))]
        return [raw async for raw in converse(channel, frames)]
    call = exchange(channel, (TASKS if "Task" in method else SESSIONS) + method, requests[method])
    answers: list[bytes] = []
    async for raw in call:
        answers.append(raw)
        if until_seq is not None and _head(raw)[0] >= until_seq:
            call.cancel()
            break
    return answers


@pytest.mark.parametrize("method", ["Converse", "RunTurn", "WatchSession", "RunTask", "WatchTask"])
async def test_every_streamed_answer_begins_with_its_head(channel: aio.Channel, name: str, method: str) -> None:
    received = await run_turn(channel, name, turn("hi there", turn_id="t"))
    await run_task(channel, name, text="hi there")
    head_seq = received.events[-1].seq
    answers = await _raw_answers(channel, method, name, head_seq if method == "WatchSession" else None)
    assert answers
    response_class = getattr(task_pb2 if "Task" in method else session_pb2, f"{method}Response")
    through_seq = 0
    for raw in answers:
        head, response = _head(raw), response_class.FromString(raw)
        assert head == (response.through_seq, response.acked_frame)
        assert head[0] >= through_seq
        through_seq = head[0]
        numbered = [event.seq for event in response.events if event.seq]
        assert not numbered or through_seq >= numbered[-1]
        assert head[1] in ((1, 2) if method == "Converse" else (1,))
    assert through_seq >= (3 if "Task" in method else head_seq)


async def test_nothing_that_a_stream_can_hold_moves_the_head(tight: aio.Channel, name: str) -> None:
    """Rejections, heartbeats and bare acknowledgements too."""
    frames = [
        ConverseRequest(open=Open(session_id=name, agent="echo")),
        ConverseRequest(turn=turn("x", turn_id="../x")),
        ConverseRequest(ack=session_pb2.Ack(seq=1)),
    ]
    call = open_stream(tight)
    for frame in frames:
        await call.write(frame.SerializeToString())
    kinds: list[str | None] = []
    while kinds.count("heartbeat") < 2:
        raw = await call.read()
        assert isinstance(raw, bytes), kinds
        _head(raw)
        response = session_pb2.ConverseResponse.FromString(raw)
        kinds += [event.WhichOneof("body") for event in response.events]
    call.cancel()
    assert [kind for kind in kinds if kind != "heartbeat"] == ["opened", "turn_rejected"]


@pytest.mark.parametrize("method", ["RunTurn", "SubmitTurn", "Converse", "WatchSession", "GetSession", "CancelTurn"])
async def test_initial_metadata_say_who_answers(cluster: Cluster, routed: aio.Channel, name: str, method: str) -> None:
    received = await run_turn(routed, name, turn("hi", turn_id="t"))
    requests: dict[str, Message] = {
        "Converse": ConverseRequest(open=Open(session_id=name)),
        "WatchSession": session_pb2.WatchSessionRequest(session_id=name),
        "GetSession": session_pb2.GetSessionRequest(session_id=name),
        "CancelTurn": session_pb2.CancelTurnRequest(session_id=name, turn_id="t"),
    }
    request = requests.get(method, session_pb2.RunTurnRequest(session_id=name, turn=turn("hi", turn_id="t")))
    ring = await cluster_pb2_grpc.ClusterServiceStub(routed).GetRing(cluster_pb2.GetRingRequest(), timeout=TIMEOUT_S)
    call = exchange(routed, SESSIONS + method, request)
    initial = {key: value for key, value in await call.initial_metadata() if key.startswith("x-agentring-")}
    call.cancel()
    assert initial == {
        "x-agentring-node": received.node,
        "x-agentring-epoch": str(received.epoch),
        "x-agentring-ring": str(ring.revision),
    }
    assert received.node in cluster.nodes
    assert {event.epoch for event in received.events} == {received.epoch}


@pytest.mark.parametrize("method", ["RunTask", "WatchTask", "GetTask", "CancelTask"])
async def test_initial_metadata_say_who_runs_a_task(routed: aio.Channel, name: str, method: str) -> None:
    received = await run_task(routed, name, text="hi")
    request: Message = task_pb2.WatchTaskRequest(task_key=name)
    if method == "RunTask":
        request = task_pb2.RunTaskRequest(task_key=name, agent="echo", input=session_pb2.Input(text="hi"))
    call = exchange(routed, TASKS + method, request)
    initial = dict(await call.initial_metadata())
    call.cancel()
    assert (initial["x-agentring-node"], initial["x-agentring-epoch"]) == (received.node, str(received.epoch))
    assert int(str(initial["x-agentring-ring"])) > 0


async def test_a_node_itself_says_who_it_is(direct: aio.Channel, name: str) -> None:
    call = exchange(
        direct, SESSIONS + "RunTurn", session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=turn())
    )
    initial = dict(await call.initial_metadata())
    assert initial["x-agentring-node"] == "n1"
    assert int(str(initial["x-agentring-epoch"])) > 1 << 40
    assert "x-agentring-ring" not in initial
    assert [raw async for raw in call]


async def test_a_turns_events_are_numbered_without_a_gap_and_offsets_count_bytes(
    channel: aio.Channel, name: str
) -> None:
    conversation = Conversation(channel)
    opened = await conversation.open(name)
    assert (opened.session_id, opened.agent, opened.head_seq, opened.oldest_seq) == (name, "echo", 0, 1)
    turn_id = await conversation.turn(turn(TEXT))
    await conversation.close()
    assert conversation.kinds[0] == "opened"
    assert conversation.events[0].seq == 0
    head_seq = assert_gapless(conversation.events, 0)
    assert head_seq == conversation.through_seq == 2 + len(PIECES) + 1
    offset = 0
    for event in conversation.events:
        if event.HasField("text_delta"):
            assert event.text_delta.offset == offset
            offset += len(event.text_delta.text.encode())
    received = merged(conversation.events)
    assert [type(each) for each in received] == [session_pb2.Event, session_pb2.Event, MergedText, session_pb2.Event]
    assert received[2] == MergedText(turn_id, 3, 2 + len(PIECES), 0, TEXT)
    completed = conversation.events[-1].turn_completed
    assert completed.text_bytes == len(TEXT.encode()) == offset
    assert dict(completed.result) == {"tokens": len(PIECES)}
    numbered = conversation.events[1:]
    assert {(event.turn_id, event.attempt) for event in numbered} == {(turn_id, 1)}
    assert all(event.HasField("time") for event in numbered)
    assert conversation.events[1].turn_accepted.turns_ahead == 0


async def test_numbers_go_on_from_turn_to_turn_and_offsets_begin_anew(channel: aio.Channel, name: str) -> None:
    first = await run_turn(channel, name, turn(TEXT))
    second = await run_turn(channel, name, turn(TEXT))
    assert assert_gapless(second.events, assert_gapless(first.events, 0)) == 2 * first.events[-1].seq
    assert second.text == TEXT
    assert second.events[2].text_delta.offset == 0


async def test_a_tool_call_and_what_it_changed_are_told(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name, "assistant")
    for text in ("my name is Ada", "what is 2 + 3 * 4?"):
        await conversation.turn(turn(text))
    await conversation.close()
    assert_gapless(conversation.events, 0)
    kinds = [kind for kind in conversation.kinds if kind not in ("opened", "turn_accepted", "turn_started")]
    distinct = [kind for place, kind in enumerate(kinds) if kinds[place - 1 : place] != [kind]]
    assert distinct == [
        *("text_delta", "state_changed", "turn_completed"),
        *("tool_call", "tool_result", "text_delta", "turn_completed"),
    ]
    changed = await conversation.until("state_changed")
    assert list(changed.state_changed.keys) == ["name"]
    call = (await conversation.until("tool_call")).tool_call
    answer = (await conversation.until("tool_result")).tool_result
    assert (call.name, answer.name, answer.call_id) == ("calculator", "calculator", call.call_id)
    assert answer.result.struct_value["value"] == 14


async def test_frames_are_acknowledged_within_a_second_without_any_event(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    assert conversation.responses[0].acked_frame == 1
    for frame in (2, 3, 4):
        await conversation.call.write(ConverseRequest(ack=session_pb2.Ack(seq=1)))
        await conversation.until_true(lambda: _acked(conversation) >= frame, f"acknowledgement of {frame}", within_s=1)  # noqa: B023
    assert conversation.kinds == ["opened"]
    assert conversation.through_seq == 0
    await conversation.close()


def _acked(conversation: Conversation) -> int:
    acked: int = conversation.responses[-1].acked_frame
    return acked


async def test_a_turn_is_acknowledged_once_it_is_accepted(channel: aio.Channel, name: str) -> None:
    conversation = Conversation(channel)
    await conversation.open(name, "holding")
    first, second = await conversation.turn(turn()), await conversation.turn(turn())
    await conversation.until("turn_accepted", second)
    await conversation.until_true(lambda: _acked(conversation) == 3, "acknowledgement of both turns", within_s=1)
    assert first not in {event.turn_id for event in conversation.events if event.HasField("turn_completed")}
    await conversation.cancel(second)
    await conversation.cancel(first)
    await conversation.close()
    assert _acked(conversation) == 5


async def test_no_answer_to_a_client_is_much_larger_than_its_share(channel: aio.Channel, name: str) -> None:
    """Words are merged up to 16 KiB, however fast they come."""
    received = await run_turn(channel, name, turn("fifteen-letters " * 8_000))
    assert received.text == "fifteen-letters " * 8_000
    assert max(event.ByteSize() for event in received.events) <= (16 << 10) + 256
    stream = watch(channel, name)
    await stream.until_seq(received.events[-1].seq)
    stream.call.cancel()
    accepted, *responses = stream.responses  # the words of the user, who did not send them here
    assert [event.turn_accepted.input.text for event in accepted.events] == ["fifteen-letters " * 8_000]
    assert max(response.ByteSize() for response in responses) <= (32 << 10) + 512
    assert merged(stream.events) == merged(received.events)
