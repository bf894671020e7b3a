"""Short ways to speak with a cluster through the generated stubs."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

from agentring.rpc.status import ErrorReport, read_error
from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from agentring.v1.session_pb2 import Event

TIMEOUT_S = 20.0


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[aio.Channel]:
    """A channel with a connection of its own."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
    async with aio.insecure_channel(address, options=options) as channel:
        yield channel


@dataclass
class Received:
    """What one call received."""

    node: str = ""
    epoch: int = 0
    events: list[Event] = field(default_factory=list)
    disposition: int = 0
    first_s: float = 0.0
    """When the first response came, on the monotonic clock."""

    @property
    def text(self) -> str:
        return "".join(event.text_delta.text for event in self.events if event.HasField("text_delta"))

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("body")) for event in self.events]

    @property
    def result(self) -> dict[str, Any]:
        ended = [event for event in self.events if event.HasField("turn_completed")]
        assert len(ended) == 1, self.kinds
        return dict(ended[0].turn_completed.result)


def turn(text: str = "", *, turn_id: str = "", on_busy: int = 0, **data: Any) -> session_pb2.Turn:
    """A turn; without a turn_id a fresh one."""
    words = session_pb2.Input(text=text)
    if data:
        words.data.update(data)
    return session_pb2.Turn(
        turn_id=turn_id or uuid.uuid4().hex, input=words, on_busy=session_pb2.OnBusy.ValueType(on_busy)
    )


async def run_turn(
    channel: aio.Channel,
    session_id: str,
    sent: session_pb2.Turn,
    *,
    agent: str = "echo",
    metadata: tuple[tuple[str, str], ...] = (),
) -> Received:
    """Runs one turn to its end."""
    request = session_pb2.RunTurnRequest(session_id=session_id, agent=agent, turn=sent)
    call = session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=TIMEOUT_S, metadata=metadata)
    return await _collect(call)


async def run_task(
    channel: aio.Channel, task_key: str, *, agent: str = "echo", on_duplicate: int = 0, text: str = "", **data: Any
) -> Received:
    """Runs or joins one task to its end."""
    request = task_pb2.RunTaskRequest(task_key=task_key, agent=agent)
    request.on_duplicate = task_pb2.OnDuplicate.ValueType(on_duplicate)
    request.input.text = text
    if data:
        request.input.data.update(data)
    return await _collect(task_pb2_grpc.TaskServiceStub(channel).RunTask(request, timeout=TIMEOUT_S))


async def _collect(call: Any) -> Received:
    received = Received()
    initial = dict(await call.initial_metadata())
    received.node, received.epoch = initial.get("x-agentring-node", ""), int(initial.get("x-agentring-epoch", 0))
    async for response in call:
        received.first_s = received.first_s or time.monotonic()
        received.events.extend(response.events)
        received.disposition = received.disposition or getattr(response, "disposition", 0)
    return received


async def error_of(call: Any) -> ErrorReport:
    """The error that a call ends with; a call that ends well fails the test."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.RpcError as error:
        return read_error(error)
    raise AssertionError("the call ended with OK")


async def run_turn_until_answered(
    channel: aio.Channel, session_id: str, sent: session_pb2.Turn, within_s: float, *, agent: str = "echo"
) -> Received:
    """Tries a turn until it is answered, as a client does while a session moves."""
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            return await run_turn(channel, session_id, sent, agent=agent)
        except grpc.RpcError as error:
            report = read_error(error)
            assert report.code is grpc.StatusCode.UNAVAILABLE, report
            assert report.retry_after_s is not None, report
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{session_id} did not answer within {within_s} s: {report}") from error
            await asyncio.sleep(0.05)
