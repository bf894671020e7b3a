"""A fault of a service's method ends its call with an id that is logged, and nothing of its text."""

import asyncio

import pytest
import structlog
from grpc import StatusCode, aio

from agentring.errors import (
    AgentNotFound,
    InternalError,
    SessionNotFound,
)
from agentring.rpc.service import Call
from agentring.v1.session_pb2 import (
    GetSessionRequest,
    GetSessionResponse,
    RunTurnRequest,
    RunTurnResponse,
)
from harness.raw import (
    exchange,
    read_details,
    status_of,
)
from harness.scripted_sessions import CONVERSE, GET, RUN, SECRET, Sessions, raises, responds_with


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        TimeoutError(SECRET),
        StopAsyncIteration(SECRET),
        asyncio.CancelledError(SECRET),
        ExceptionGroup(SECRET, [SessionNotFound(), ValueError(SECRET)]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("method", [GET, RUN, CONVERSE])
async def test_a_fault_is_told_by_an_id_and_logged_under_it(
    sessions: Sessions, channel: aio.Channel, method: str, error: BaseException
) -> None:
    sessions.get = sessions.run = sessions.converse = raises(error)
    with structlog.testing.capture_logs() as logged:
        ended = await status_of(exchange(channel, method, b""))
    info, retry_after_s = read_details(ended)
    assert (ended.code(), info.reason, retry_after_s) == (StatusCode.INTERNAL, "INTERNAL", None)
    assert ended.details() == InternalError("").sentence
    assert list(info.metadata) == ["error_id"]
    (entry,) = [each for each in logged if each["event"] == "call_failed"]
    assert entry["error_id"] == info.metadata["error_id"]
    assert entry["method"].endswith(method.rpartition("/")[2])
    assert entry["exc_info"]
    assert (
        SECRET not in f"{ended!r} {ended.debug_error_string()} {ended.trailing_metadata()} {ended.initial_metadata()}"
    )


async def test_a_fault_after_some_responses_ends_the_stream_after_them(
    sessions: Sessions, channel: aio.Channel
) -> None:
    async def run(_request: RunTurnRequest, call: Call) -> None:
        await call.send(RunTurnResponse(through_seq=1, acked_frame=0))
        raise KeyError(SECRET)

    sessions.run = run
    call = exchange(channel, RUN, b"")
    first = await call.read()
    assert isinstance(first, bytes)
    assert RunTurnResponse.FromString(first).through_seq == 1
    ended = await status_of(call)
    assert ended.code() is StatusCode.INTERNAL
    read_details(ended)


async def test_a_method_that_cancels_its_own_task_is_a_fault(sessions: Sessions, channel: aio.Channel) -> None:
    async def get(_request: GetSessionRequest, _call: Call) -> GetSessionResponse:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return GetSessionResponse()

    sessions.get = get
    with structlog.testing.capture_logs() as logged:
        ended = await status_of(exchange(channel, GET, b""))
    info = read_details(ended)[0]
    assert (ended.code(), info.reason) == (StatusCode.INTERNAL, "INTERNAL")
    assert [each["error_id"] for each in logged if each["event"] == "call_failed"] == [info.metadata["error_id"]]


async def test_an_error_whose_fields_are_no_utf_8_is_told_all_the_same(
    sessions: Sessions, channel: aio.Channel
) -> None:
    sessions.get = raises(AgentNotFound("half\ud83d"))
    info = read_details(await status_of(exchange(channel, GET, b"")))[0]
    assert (info.reason, dict(info.metadata)) == (AgentNotFound("").reason, {"agent": "half?"})


async def test_no_response_at_all_is_a_fault(sessions: Sessions, channel: aio.Channel) -> None:
    sessions.get = responds_with(None)
    ended = await status_of(exchange(channel, GET, b""))
    assert read_details(ended)[0].reason == "INTERNAL"
