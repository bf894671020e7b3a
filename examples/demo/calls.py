"""The demo's calls, through the generated stubs alone: what any client of the wire API could do."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.json_format import MessageToDict
from grpc import aio

from agentring import metadata
from agentring.rpc.status import read_error
from agentring.v1.session_pb2 import Event, Input, RunTurnRequest, Turn
from agentring.v1.session_pb2_grpc import SessionServiceStub
from agentring.v1.task_pb2 import Disposition, RunTaskRequest
from agentring.v1.task_pb2_grpc import TaskServiceStub

CALL_DEADLINE_S = 20.0
_RETRY_S = 0.05


@dataclass(slots=True)
class Answer:
    """What a call was answered."""

    node: str
    """The node that answered, by the response's headers."""
    epoch: int
    text: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    ran_on: str = ""
    """Where the turn ran, by its own events."""
    disposition: str = ""
    completed: bool = False
    took_s: float = 0.0

    def add(self, events: Sequence[Event]) -> None:
        """Takes in a piece of the answer."""
        for event in events:
            match event.WhichOneof("body"):
                case "turn_started":
                    self.ran_on = event.turn_started.node_id
                case "text_delta":
                    self.text += event.text_delta.text
                case "turn_completed":
                    self.completed = True
                    self.result = MessageToDict(event.turn_completed.result)


async def run_turn(channel: aio.Channel, session: str, text: str, turn_id: str = "") -> Answer:
    """Runs one turn of the agent `assistant`. Raises grpc.RpcError."""
    turn = Turn(turn_id=turn_id or uuid4().hex, input=Input(text=text))
    request = RunTurnRequest(session_id=session, agent="assistant", turn=turn)
    began_s = time.monotonic()
    call = SessionServiceStub(channel).RunTurn(request, timeout=CALL_DEADLINE_S)
    answer = _begin(await call.initial_metadata())
    async for response in call:
        answer.add(response.events)
    answer.took_s = time.monotonic() - began_s
    return answer


async def run_turn_until_answered(channel: aio.Channel, session: str, text: str) -> Answer:
    """The same turn again and again while its session moves, as a client does. Raises grpc.RpcError."""
    turn_id = uuid4().hex
    began_s = time.monotonic()
    while True:
        try:
            answer = await run_turn(channel, session, text, turn_id)
        except grpc.RpcError as error:
            if read_error(error).retry_after_s is None or time.monotonic() - began_s > CALL_DEADLINE_S:
                raise
        else:
            answer.took_s = time.monotonic() - began_s
            return answer
        await asyncio.sleep(_RETRY_S)


async def run_task(channel: aio.Channel, task_key: str, data: dict[str, float]) -> Answer:
    """Runs, joins or replays one task of the agent `echo`. Raises grpc.RpcError."""
    task_input = Input()
    task_input.data.update(data)
    call = TaskServiceStub(channel).RunTask(
        RunTaskRequest(task_key=task_key, agent="echo", input=task_input), timeout=CALL_DEADLINE_S
    )
    answer = _begin(await call.initial_metadata())
    async for response in call:
        answer.add(response.events)
        if response.disposition:
            answer.disposition = Disposition.Name(response.disposition).removeprefix("DISPOSITION_")
    return answer


def _begin(headers: aio.Metadata) -> Answer:
    found = {name: value for name, value in headers if isinstance(value, str)}
    return Answer(found.get(metadata.NODE, ""), int(found.get(metadata.EPOCH, "0")))
