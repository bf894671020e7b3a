"""Streams that begin wrong or not at all, methods that nobody serves, and metadata that are not a client's to send."""

import asyncio
import uuid

import pytest
from grpc import aio

from agentring.errors import (
    FirstFrameNotOpen,
    FirstFrameTimeout,
    InvalidTaskKey,
    MethodNotImplemented,
    NodeNotFound,
    RunNotFound,
    SecondOpen,
)
from agentring.v1 import node_pb2, session_pb2, session_pb2_grpc
from agentring.v1.session_pb2 import ConverseRequest
from harness.client import TIMEOUT_S, run_turn, turn
from harness.cluster import Cluster
from harness.raw import (
    CLUSTER,
    NODE,
    SESSIONS,
    TASKS,
    assert_refused,
    assert_stream_refused,
    converse,
    exchange,
    open_stream,
)
from harness.streams import Conversation, assert_gapless

FRAMES: dict[str, ConverseRequest | bytes] = {
    "turn": ConverseRequest(turn=turn("hi")),
    "cancel": ConverseRequest(cancel=session_pb2.Cancel(turn_id="t")),
    "reply": ConverseRequest(reply=session_pb2.Reply(input_id="i")),
    "ack": ConverseRequest(ack=session_pb2.Ack(seq=1)),
    "nothing": ConverseRequest(),
    "a frame of the future": b"\x7a\x02\x0a\x00",
}


def _opening(name: str) -> ConverseRequest:
    return ConverseRequest(open=session_pb2.Open(session_id=name, agent="echo"))


@pytest.mark.parametrize("first", FRAMES)
async def test_a_first_frame_that_is_not_open_is_refused(channel: aio.Channel, name: str, first: str) -> None:
    await assert_stream_refused(channel, [FRAMES[first]], FirstFrameNotOpen())
    route = (("x-session-id", name), ("x-agent", "echo"))
    await assert_stream_refused(channel, [FRAMES[first]], FirstFrameNotOpen(), metadata=route)


async def test_a_stream_without_a_frame_is_refused(channel: aio.Channel) -> None:
    await assert_refused(converse(channel, []), FirstFrameNotOpen())


async def test_a_second_open_ends_the_stream_but_not_its_turns(channel: aio.Channel, name: str) -> None:
    sent = turn(tokens=5, rate=50)
    frames = [_opening(name), ConverseRequest(turn=sent), _opening(name)]
    await assert_stream_refused(channel, frames, SecondOpen())
    received = await run_turn(channel, name, sent)
    assert received.result == {"tokens": 5}


@pytest.mark.parametrize("with_route", [False, True], ids=["named by the message", "named by metadata"])
async def test_a_silent_stream_ends_in_time(tight: aio.Channel, name: str, with_route: bool) -> None:
    methods = [SESSIONS + each for each in ("Converse", "RunTurn", "SubmitTurn", "WatchSession", "GetSession")]
    methods += [TASKS + each for each in ("RunTask", "GetTask")]
    route = (("x-session-id", name), ("x-task-key", name), ("x-agent", "echo")) if with_route else ()
    began_s = asyncio.get_running_loop().time()
    calls = [open_stream(tight, method=method, metadata=route) for method in methods]
    await asyncio.gather(*(assert_refused(call, FirstFrameTimeout()) for call in calls))
    assert 0.5 <= asyncio.get_running_loop().time() - began_s < TIMEOUT_S / 2


async def test_a_silent_call_of_the_routers_own_services_ends_in_time(tight: aio.Channel) -> None:
    methods = ("/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    calls = [open_stream(tight, method=method) for method in methods]
    await asyncio.gather(*(assert_refused(call, FirstFrameTimeout()) for call in calls))


async def test_a_stream_may_be_silent_once_it_is_open(tight: aio.Channel, name: str) -> None:
    conversation = Conversation(tight)
    await conversation.open(name)
    # Each of them says that half a second went by in which nothing happened.
    await conversation.until_true(lambda: _heartbeats(conversation) >= 3, "three heartbeats")
    turn_id = await conversation.turn(turn("at last"))
    await conversation.until("turn_completed", turn_id)
    await conversation.close()
    assert conversation.text == "at last"
    assert assert_gapless(conversation.events, 0) == conversation.through_seq


def _heartbeats(conversation: Conversation) -> int:
    return sum(event.HasField("heartbeat") for event in conversation.events)


@pytest.mark.parametrize(
    "method",
    [
        "/foo.Bar/Baz",
        "/nonsense",
        "/",
        "/agentring.v1.SessionService/",
        "/agentring.v1.SessionService/Nope",
        "/agentring.v2.SessionService/Converse",
        "/grpc.health.v1.Health/Nope",
        "/grpc.nothing/At.all",
    ],
)
async def test_an_unknown_method_is_not_served(channel: aio.Channel, method: str) -> None:
    for message in (b"", b"\xff\xff\xff", b"x" * 10_000):
        await assert_refused(exchange(channel, method, message), MethodNotImplemented())


async def test_an_unknown_method_with_a_session_is_asked_of_its_owner(channel: aio.Channel, name: str) -> None:
    metadata = (("x-session-id", name), ("x-agent", "echo"))
    await assert_refused(exchange(channel, "/users.Own/Method", b"\xff", metadata=metadata), MethodNotImplemented())


async def test_an_unknown_method_that_is_streamed_is_not_served(channel: aio.Channel, name: str) -> None:
    for metadata in ((), (("x-session-id", name), ("x-agent", "echo"))):
        await assert_stream_refused(
            channel, [b"x"], MethodNotImplemented(), method="/users.Own/Method", metadata=metadata
        )


async def test_a_node_that_is_not_there_cannot_be_drained(routed: aio.Channel) -> None:
    await assert_refused(exchange(routed, CLUSTER + "DrainNode", b""), NodeNotFound())


async def test_nobody_waits_for_a_step_that_has_no_key_or_is_not_run_here(direct: aio.Channel) -> None:
    await assert_refused(exchange(direct, NODE + "WatchRun", b""), InvalidTaskKey())
    request = node_pb2.WatchRunRequest(task_key="never-run").SerializeToString()
    await assert_refused(exchange(direct, NODE + "WatchRun", request), RunNotFound())


@pytest.mark.parametrize("method", ["GetNodeStatus", "WatchRun", "Drain"])
async def test_the_nodes_own_service_cannot_be_reached_through_a_router(
    routed: aio.Channel, name: str, method: str
) -> None:
    for metadata in ((), (("x-session-id", name), ("x-agent", "echo"))):
        await assert_refused(exchange(routed, NODE + method, b"", metadata=metadata), MethodNotImplemented())


async def test_the_routers_own_service_is_not_served_by_nodes(direct: aio.Channel) -> None:
    await assert_refused(exchange(direct, CLUSTER + "ListNodes", b""), MethodNotImplemented())


async def test_internal_metadata_of_a_client_reach_neither_the_node_nor_the_answer(
    cluster: Cluster, routed: aio.Channel, name: str
) -> None:
    forged = (
        ("x-agentring-stream-id", "forged"),
        ("x-agentring-node", "forged"),
        ("x-agentring-epoch", "0"),
        ("x-agentring-redirect", "forged 127.0.0.1:1"),
        ("x-agentring-refused", "draining"),
    )
    conversation = Conversation(routed, forged)
    opened = await conversation.open(name)
    await conversation.call.write(ConverseRequest(turn=session_pb2.Turn(input=session_pb2.Input(text="hi"))))
    ended = await conversation.until("turn_completed")
    await conversation.close()
    # The node has made the turn's id from the stream's, which the router gave, and the frame's number.
    stream_id, _, frame = ended.turn_id.rpartition(".")
    assert frame == "2"
    assert uuid.UUID(hex=stream_id).hex == stream_id
    initial = dict(await conversation.call.initial_metadata())
    assert initial["x-agentring-node"] == opened.node_id
    assert initial["x-agentring-epoch"] == str(ended.epoch)
    assert opened.node_id in cluster.nodes
    trailing = [key for key, _ in await conversation.call.trailing_metadata()]
    assert [key for key in (*initial, *trailing) if key.startswith("x-agentring-")] == [
        "x-agentring-node",
        "x-agentring-epoch",
        "x-agentring-ring",
    ]


async def test_a_refusal_through_a_router_holds_nothing_internal(routed: aio.Channel, name: str) -> None:
    request = session_pb2.RunTurnRequest(session_id=name, agent="nobody", turn=turn("hi"))
    call = session_pb2_grpc.SessionServiceStub(routed).RunTurn(request, timeout=TIMEOUT_S)
    with pytest.raises(aio.AioRpcError):
        await call.read()
    assert [key for key, _ in await call.trailing_metadata()] == ["grpc-status-details-bin"]
