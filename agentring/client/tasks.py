"""Tasks, as their client holds them: work under a key, of which at most one run is under way.

Guarantees that a run whose connection was lost is joined again, never started beside itself, and its events go on from
where they were; watching alone starts none. Used by ring.py.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from grpc import aio

from agentring.client.inputs import Json, to_input
from agentring.client.session_info import OpenStep, to_open_steps
from agentring.client.streams import Call, Connection, Metadata
from agentring.client.turn_stream import Outcome, RunStream
from agentring.client.unary import call
from agentring.durations import to_duration
from agentring.held import waiting
from agentring.ids import parse_task
from agentring.plain_json import from_struct
from agentring.v1 import task_pb2
from agentring.v1.task_pb2_grpc import TaskServiceStub


class OnDuplicate(Enum):
    """What to do where the key has a run under way."""

    JOIN = task_pb2.ON_DUPLICATE_JOIN
    REJECT = task_pb2.ON_DUPLICATE_REJECT
    """Raises TaskKeyActive."""


class Disposition(Enum):
    """What this call was to the task."""

    STARTED = task_pb2.DISPOSITION_STARTED
    JOINED = task_pb2.DISPOSITION_JOINED
    REPLAYED = task_pb2.DISPOSITION_REPLAYED


class TaskState(Enum):
    """How far a task has come."""

    UNSPECIFIED = task_pb2.TASK_STATE_UNSPECIFIED
    PENDING = task_pb2.TASK_STATE_PENDING
    RUNNING = task_pb2.TASK_STATE_RUNNING
    COMPLETED = task_pb2.TASK_STATE_COMPLETED
    FAILED = task_pb2.TASK_STATE_FAILED
    CANCELLED = task_pb2.TASK_STATE_CANCELLED
    UNKNOWN = task_pb2.TASK_STATE_UNKNOWN
    """Cut off at a step that must not be run twice; a person decides."""


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What is known of a task."""

    raw: task_pb2.Task
    task_key: str
    agent: str
    state: TaskState
    node_id: str
    epoch: int
    attempt: int
    text: str
    """The words so far, or, after the end, all of them."""
    result: dict[str, Json] | None
    open_steps: tuple[OpenStep, ...] = ()
    """The steps and tools of its run that are under way, the oldest first, at most 100."""


class Task(RunStream):
    """The events of a task's run, by `async for`; leaving it early does not cancel the run."""

    def __init__(self, connection: Connection, request: task_pb2.RunTaskRequest) -> None:
        """Nothing is sent yet. Raises InvalidTaskKey."""
        ref = parse_task(connection.routers.tenant, request.task_key)
        self.task_key = ref.task_key
        self.disposition: Disposition | None = None
        """What the first call was to the task; None: nothing has been read yet."""

        self._request = request

        def start(channel: aio.Channel, metadata: Metadata, _seq: int | None) -> Call:
            return TaskServiceStub(channel).RunTask(request, metadata=metadata)

        super().__init__(connection, start, ref)

    async def accepted(self) -> Disposition:
        """Returns once the task is accepted, be it that it waits for a place to run; no event is lost. Raises as
        iterating does. Cancellation: it may be accepted all the same."""
        with waiting(self._ref):
            while self.disposition is None:
                await self._read_on()
        return self.disposition

    def _respond(self, response: Any) -> None:
        if self.disposition is None and response.disposition:
            self.disposition = Disposition(response.disposition)
            # From now on the run under way is this call's own, or one that it has joined.
            self._request.on_duplicate = task_pb2.ON_DUPLICATE_JOIN


class TaskWatch(RunStream):
    """The events of a task that others asked for, by `async for`."""

    _counts_silence = True

    def __init__(self, connection: Connection, key: str, after_seq: int) -> None:
        """Nothing is sent yet. Raises InvalidTaskKey."""
        ref = parse_task(connection.routers.tenant, key)
        self.task_key = ref.task_key

        def start(channel: aio.Channel, metadata: Metadata, seq: int | None) -> Call:
            request = task_pb2.WatchTaskRequest(task_key=key, after_seq=seq, keeps_valid=True)
            return TaskServiceStub(channel).WatchTask(request, metadata=metadata)

        super().__init__(connection, start, ref, after_seq)


@dataclass(frozen=True, slots=True)
class TaskOutcome(Outcome):
    """How a task's run that completed has ended."""

    disposition: Disposition | None
    """What the call was to the task."""


def to_request(
    key: str,
    agent: str,
    text: str,
    data: dict[str, Json] | None,
    on_duplicate: OnDuplicate,
    retention_s: float | None,
    cancel_when_unwatched: bool,
    timeout_s: float | None,
) -> task_pb2.RunTaskRequest:
    """What asks for a task. Raises ValueError: the data are no JSON."""
    request = task_pb2.RunTaskRequest(
        task_key=key,
        agent=agent,
        input=to_input(text, data)[0],
        on_duplicate=on_duplicate.value,
        cancel_when_unwatched=cancel_when_unwatched,
        keeps_valid=True,
    )
    if retention_s is not None:
        request.retention.CopyFrom(to_duration(retention_s))
    if timeout_s is not None:
        request.timeout.CopyFrom(to_duration(timeout_s))
    return request


async def get_task(connection: Connection, key: str) -> TaskInfo:
    """What is known of a task. Raises TaskNotFound."""
    request = task_pb2.GetTaskRequest(task_key=key)

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> task_pb2.GetTaskResponse:
        return await TaskServiceStub(channel).GetTask(request, metadata=metadata, timeout=timeout)

    found = (await call(connection.routers, connection.policy, try_once)).task
    return to_task_info(found)


async def cancel_task(connection: Connection, key: str) -> TaskState:
    """Cancels a task's run; CANCELLED, or how it had ended before. Raises TaskNotFound."""
    request = task_pb2.CancelTaskRequest(task_key=key)

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> task_pb2.CancelTaskResponse:
        return await TaskServiceStub(channel).CancelTask(request, metadata=metadata, timeout=timeout)

    return TaskState((await call(connection.routers, connection.policy, try_once)).state)


def to_task_info(found: task_pb2.Task) -> TaskInfo:
    """As the wire has it."""
    return TaskInfo(
        raw=found,
        task_key=found.task_key,
        agent=found.agent,
        state=TaskState(found.state),
        node_id=found.node_id,
        epoch=found.epoch,
        attempt=found.attempt,
        text=found.text,
        result=from_struct(found.result) if found.HasField("result") else None,
        open_steps=to_open_steps(found.open_steps),
    )
