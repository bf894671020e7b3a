"""Names of sessions, tasks, turns, tenants and agents that are wrong, contradict each other, or name nothing."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import aio

from agentring.errors import (
    AgentMismatch,
    AgentNotFound,
    AgentRequired,
    AgentringError,
    InvalidRetention,
    InvalidSessionId,
    InvalidTaskKey,
    InvalidTenantId,
    InvalidTimeout,
    InvalidTurnId,
    RouteMismatch,
    SessionNotFound,
    TaskNotFound,
    TurnNotFound,
)
from agentring.v1 import cluster_pb2, session_pb2, task_pb2
from agentring.v1.session_pb2 import ConverseRequest
from harness.client import run_task, run_turn, turn
from harness.cluster import Cluster
from harness.raw import CLUSTER, SESSIONS, TASKS, Metadata, assert_refused, exchange
from harness.streams import Conversation

LOOK_ALIKES = ("sess\u0456on", "\uff53ession", "sessio\u0301n", "\u202esession")
BAD_IDS = ("a" * 129, "../x", "..", ".", "a/b", "a\0b", "a\n", "\nb", "a\tb", " ", "a b", "a%2e", "a,b", *LOOK_ALIKES)
BAD_KEYS = ("k" * 257, " ", "a b", "a\0b", "a\n", "\x7f", *LOOK_ALIKES)
PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))

SESSION_METHODS = ("Converse", "RunTurn", "SubmitTurn", "CancelTurn", "WatchSession", "GetSession", "CloseSession")
TASK_METHODS = ("RunTask", "GetTask", "WatchTask", "CancelTask")


def _request(method: str, name: str, agent: str = "echo") -> Message:
    """A request of SessionService or TaskService that is in order but for what the caller made wrong."""
    match method:
        case "Converse":
            return ConverseRequest(open=session_pb2.Open(session_id=name, agent=agent))
        case "RunTurn" | "SubmitTurn":
            request_class: Any = getattr(session_pb2, f"{method}Request")
            return request_class(session_id=name, agent=agent, turn=turn("hi"))  # type: ignore[no-any-return]
        case "CancelTurn":
            return session_pb2.CancelTurnRequest(session_id=name, agent=agent, turn_id="t")
        case "WatchSession" | "GetSession" | "CloseSession":
            return getattr(session_pb2, f"{method}Request")(session_id=name, agent=agent)  # type: ignore[no-any-return]
        case _:
            return getattr(task_pb2, f"{method}Request")(task_key=name, agent=agent)  # type: ignore[no-any-return]


def _path(method: str) -> str:
    return (SESSIONS if method in SESSION_METHODS else TASKS) + method


async def _all_refused(
    channel: aio.Channel, method: str, names: tuple[str, ...], error: AgentringError, metadata: Metadata = ()
) -> None:
    calls = [exchange(channel, _path(method), _request(method, name), metadata=metadata) for name in names]
    await asyncio.gather(*(assert_refused(call, error) for call in calls))


@pytest.mark.parametrize("method", SESSION_METHODS)
async def test_a_bad_session_id_is_refused(channel: aio.Channel, method: str) -> None:
    await _all_refused(channel, method, BAD_IDS, InvalidSessionId())


@pytest.mark.parametrize("method", TASK_METHODS)
async def test_a_bad_task_key_is_refused(channel: aio.Channel, method: str) -> None:
    await _all_refused(channel, method, BAD_KEYS, InvalidTaskKey())


@pytest.mark.parametrize("method", SESSION_METHODS)
async def test_a_bad_session_id_in_the_metadata_is_refused(channel: aio.Channel, method: str) -> None:
    for bad in (each for each in BAD_IDS if set(each) <= set(PRINTABLE) and each.strip()):
        await _all_refused(channel, method, ("",), InvalidSessionId(), (("x-session-id", bad),))


@pytest.mark.parametrize("method", TASK_METHODS)
async def test_a_bad_task_key_in_the_metadata_is_refused(channel: aio.Channel, method: str) -> None:
    for bad in ("k" * 257, "a b"):
        await _all_refused(channel, method, ("",), InvalidTaskKey(), (("x-task-key", bad),))


async def test_names_at_their_bounds_are_good(channel: aio.Channel, name: str) -> None:
    for good in (name.ljust(128, "x"), f"{name}.~:@_-AZ09", f"..{name}"):
        assert (await run_turn(channel, good, turn("hi"))).text == "hi"
    for good in (name.ljust(256, "x"), name + PRINTABLE.strip(), f"../{name}"):
        assert (await run_task(channel, good, text="hi")).text == "hi"


@pytest.mark.parametrize("method", SESSION_METHODS)
async def test_a_bad_tenant_is_refused(channel: aio.Channel, name: str, method: str) -> None:
    for bad in ("../x", "..", "t" * 129, "a/b", "a b"):
        await _all_refused(channel, method, (name,), InvalidTenantId(), (("x-tenant-id", bad),))
    named = (("x-session-id", name), ("x-tenant-id", "a/b"))
    await _all_refused(channel, method, (name,), InvalidTenantId(), named)


async def test_the_router_itself_refuses_bad_names(routed: aio.Channel, name: str) -> None:
    for bad in ("", *BAD_IDS):
        request = cluster_pb2.LocateSessionRequest(session_id=bad)
        await assert_refused(exchange(routed, CLUSTER + "LocateSession", request), InvalidSessionId())
    request = cluster_pb2.LocateSessionRequest(session_id=name, tenant_id="a/b")
    await assert_refused(exchange(routed, CLUSTER + "LocateSession", request), InvalidTenantId())


@pytest.mark.parametrize("method", SESSION_METHODS + TASK_METHODS)
async def test_metadata_and_message_must_name_the_same(channel: aio.Channel, name: str, method: str) -> None:
    header = "x-session-id" if method in SESSION_METHODS else "x-task-key"
    await _all_refused(channel, method, (name,), RouteMismatch(), ((header, f"{name}-other"),))
    await _all_refused(channel, method, (name,), RouteMismatch(), ((header, name), ("x-agent", "assistant")))
    await _all_refused(channel, method, (name,), RouteMismatch(), (("x-agent", "assistant"),))


async def test_metadata_and_message_may_name_the_same(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("hi"), metadata=(("x-session-id", name), ("x-agent", "echo")))
    assert received.text == "hi"


async def test_bad_turn_ids_are_refused(channel: aio.Channel, name: str) -> None:
    for bad in BAD_IDS:
        for method in ("RunTurn", "SubmitTurn"):
            request = session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=turn("hi", turn_id=bad))
            await assert_refused(exchange(channel, SESSIONS + method, request), InvalidTurnId())
    await run_turn(channel, name, turn("hi"))
    for bad in ("", *BAD_IDS):
        cancel = session_pb2.CancelTurnRequest(session_id=name, turn_id=bad)
        await assert_refused(exchange(channel, SESSIONS + "CancelTurn", cancel), InvalidTurnId())


async def test_frames_that_name_nothing_good_are_answered_and_the_stream_goes_on(
    channel: aio.Channel, name: str
) -> None:
    conversation = Conversation(channel)
    await conversation.open(name)
    frames = [
        ConverseRequest(turn=turn("hi", turn_id="../x")),
        ConverseRequest(cancel=session_pb2.Cancel(turn_id="a b")),
        ConverseRequest(cancel=session_pb2.Cancel(turn_id="unknown")),
        ConverseRequest(reply=session_pb2.Reply(input_id="unknown")),
        ConverseRequest(ack=session_pb2.Ack(seq=1 << 60)),
        ConverseRequest(turn=turn("hi", turn_id="good")),
    ]
    for frame in frames:
        await conversation.call.write(frame)
    await conversation.close()
    rejected = [
        (event.turn_id, event.turn_rejected.reason, event.turn_rejected.frame, event.seq)
        for event in conversation.events
        if event.HasField("turn_rejected")
    ]
    assert rejected == [
        ("../x", "INVALID_TURN_ID", 2, 0),
        ("a b", "INVALID_TURN_ID", 3, 0),
        ("unknown", "TURN_NOT_FOUND", 4, 0),
        ("", "INPUT_NOT_FOUND", 5, 0),
    ]
    assert (await conversation.until("turn_completed", "good")).turn_completed.text_bytes == 2
    assert conversation.responses[-1].acked_frame == 7


@pytest.mark.parametrize("agent", ["nobody", "n" * 300, "ech\u043e", "echo\n", "a=b", "e" * 20_000])
async def test_an_unknown_agent_is_not_found(channel: aio.Channel, name: str, agent: str) -> None:
    expected = AgentNotFound(agent[:256])  # an ErrorInfo's values are cut there
    for method in ("Converse", "RunTurn", "SubmitTurn", "RunTask"):
        await assert_refused(exchange(channel, _path(method), _request(method, name, agent)), expected)


async def test_something_new_needs_an_agent(channel: aio.Channel, name: str) -> None:
    for method in ("Converse", "RunTurn", "SubmitTurn", "RunTask"):
        await assert_refused(exchange(channel, _path(method), _request(method, name, "")), AgentRequired())


@pytest.mark.parametrize("method", SESSION_METHODS)
async def test_a_session_stays_with_its_agent(channel: aio.Channel, name: str, method: str) -> None:
    await run_turn(channel, name, turn("hi"))
    request = _request(method, name, "assistant")
    await assert_refused(exchange(channel, SESSIONS + method, request), AgentMismatch("echo"))
    assert (await run_turn(channel, name, turn("hi"), agent="")).text == "hi"


@pytest.mark.parametrize("method", ["GetTask", "WatchTask", "CancelTask"])
async def test_a_task_stays_with_its_agent(channel: aio.Channel, name: str, method: str) -> None:
    await run_task(channel, name, text="hi")
    request = _request(method, name, "assistant")
    await assert_refused(exchange(channel, TASKS + method, request), AgentMismatch("echo"))


@pytest.mark.parametrize("agent", ["", "echo"])
async def test_what_does_not_exist_is_not_found_and_not_made(
    cluster: Cluster, channel: aio.Channel, name: str, agent: str
) -> None:
    for method in ("CancelTurn", "WatchSession", "GetSession", "CloseSession"):
        await assert_refused(exchange(channel, SESSIONS + method, _request(method, name, agent)), SessionNotFound())
    for method in ("GetTask", "WatchTask", "CancelTask"):
        await assert_refused(exchange(channel, TASKS + method, _request(method, name, agent)), TaskNotFound())
    assert [line for line in cluster.audit("claimed") if name in (line.get("session"), line.get("task"))] == []


async def test_a_turn_that_does_not_exist_is_not_found(channel: aio.Channel, name: str) -> None:
    await run_turn(channel, name, turn("hi"))
    request = session_pb2.CancelTurnRequest(session_id=name, turn_id="unknown")
    await assert_refused(exchange(channel, SESSIONS + "CancelTurn", request), TurnNotFound())


@pytest.mark.parametrize("seconds", [0.0, 86_400.1, -60.0, -0.5, 10.0**11])
async def test_a_deadline_out_of_bounds_is_refused(channel: aio.Channel, name: str, seconds: float) -> None:
    task = task_pb2.RunTaskRequest(task_key=name, agent="echo")
    sent = turn("hi")
    for timeout in (task.timeout, sent.timeout):
        timeout.seconds, timeout.nanos = int(seconds), round((seconds - int(seconds)) * 1e9)
    await assert_refused(exchange(channel, TASKS + "RunTask", task), InvalidTimeout(86_400))
    for method, request in (("RunTurn", session_pb2.RunTurnRequest), ("SubmitTurn", session_pb2.SubmitTurnRequest)):
        asked = request(session_id=name, agent="echo", turn=sent)
        await assert_refused(exchange(channel, SESSIONS + method, asked), InvalidTimeout(86_400))


@pytest.mark.parametrize("seconds", [0.0, 59.9, 86_400.1, -60.0, 10.0**11])
async def test_a_retention_out_of_bounds_is_refused(channel: aio.Channel, name: str, seconds: float) -> None:
    request = task_pb2.RunTaskRequest(task_key=name, agent="echo")
    request.retention.seconds, request.retention.nanos = int(seconds), round(seconds % 1 * 1e9)
    await assert_refused(exchange(channel, TASKS + "RunTask", request), InvalidRetention(60, 86_400))


@pytest.mark.parametrize("seconds", [60, 86_400])
async def test_a_retention_at_its_bounds_is_good(channel: aio.Channel, name: str, seconds: int) -> None:
    request = task_pb2.RunTaskRequest(task_key=name, agent="echo")
    request.retention.seconds = seconds
    assert len([raw async for raw in exchange(channel, TASKS + "RunTask", request)]) >= 1
