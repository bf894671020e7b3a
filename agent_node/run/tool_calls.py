"""The tools that one run calls, each a step of the run.

Guarantees: a tool's start is stored before the tool is called; a call that has ended is not made again in a later
attempt, which gets its result, or its error, from the record; every call that is published has its result published
too, whatever ends it, and once, under the same call_id in every attempt. Used by RunContext (context.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from google.protobuf import struct_pb2
from pydantic_core import PydanticSerializationError, to_jsonable_python

from agent_node.agent_errors import log_failure
from agent_node.json_values import NotJson, to_plain_value, to_struct, to_value
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import new_error_id
from agent_node.run.recorded_calls import Ended, MadeCall, OwnCall, RecordedCalls
from agent_node.run.run_input import TurnInput
from agent_node.run.run_log import RunLog
from agent_node.run.tool_places import CallPlace
from agent_node.step.function import StepCall
from agent_node.step.steps import Steps
from agent_node.store import ToolStart
from agentring.agent import ArgumentProblem, Context, Retry, StepUnknown, StorageConflict, Tool, ToolArgumentInvalid
from agentring.errors import AgentringError, NodeFenced, StaleEpoch, StoreUnavailable
from agentring.ids import Epoch
from agentring.plain_json import type_name
from agentring.v1 import session_pb2

_NAME_BYTES = 256
_DETAIL_CHARS = 1_000
_HANDED = ("idempotency_key", "fencing_token")
"""Of every step: they tell no two calls from each other."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What is called, and how."""

    name: str
    shown: struct_pb2.Struct
    function: Callable[[str, int], Awaitable[Any]]
    """Gets the call's idempotency key and the owner's fencing token."""
    key: str | None = None
    retry: Retry | None = None
    timeout_s: float | None = None
    idempotent: bool = True
    place: CallPlace | None = None

    @property
    def own(self) -> OwnCall:
        """As a step."""
        key = f"args {_digest(self.shown)}" if self.key is None else f"key {self.key}"
        return OwnCall("tool", self.name, key, idempotent=self.idempotent, waits=True)


class ToolCalls:
    """One run's calls."""

    def __init__(
        self, env: RunEnvironment, turn: TurnInput, log: RunLog, epoch: Epoch, recorded: RecordedCalls
    ) -> None:
        """log: where calls and results are published; recorded: what makes them steps of the run."""
        self._env = env
        self._turn = turn
        self._log = log
        self._epoch = epoch
        self._recorded = recorded
        self._open: dict[str, session_pb2.ToolResult] = {}
        """Calls without a result."""

    async def call(
        self, steps: Steps | None, name: str, function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]
    ) -> Any:
        """As Context.tool. steps: as RecordedCalls."""
        name = _checked_name(name)
        shown = to_struct(arguments, f"arguments of the tool {name}")

        async def with_arguments(key: str, token: int) -> Any:
            return await function(
                **StepCall(function, (), arguments).handed(idempotency_key=key, fencing_token=token).kwargs
            )

        return await self._carry_out(steps, _Call(name, shown, with_arguments))

    async def call_tool(
        self,
        steps: Steps | None,
        ctx: Context,
        tool: Tool[..., Any],
        arguments: Mapping[str, Any] | str,
        key: str | None,
    ) -> Any:
        """As Context.call_tool. steps: as RecordedCalls."""
        if not isinstance(tool, Tool):
            raise TypeError(f"call_tool calls a Tool, not {type_name(type(tool))}: write @tool above the function")
        if key is not None and not isinstance(key, str):
            raise TypeError(f"a call's key is a str, not {type_name(type(key))}")
        checked = tool.check(arguments)
        try:
            shown = to_struct(checked.plain, f"arguments of the tool {tool.name}")
        except NotJson as refused:  # NaN, half a character, more than a message holds
            raise ToolArgumentInvalid(tool.name, [ArgumentProblem(refused.path, refused.problem, "not_json")]) from None

        async def with_values(idempotency_key: str, fencing_token: int) -> Any:
            handed = {"ctx": ctx, "idempotency_key": idempotency_key, "fencing_token": fencing_token}
            values = checked.values | {name: handed[name] for name in tool.handed}
            return _jsonable(tool.name, await tool.function(**values))

        place = self._env.tool_places.place(tool)
        call = _Call(tool.name, shown, with_values, key, tool.retry, tool.timeout_s, tool.idempotent, place)
        return await self._carry_out(steps, call)

    def end(self) -> None:
        """The run is over: the calls without a result were cut off."""
        for answer in list(self._open.values()):
            self._publish_failure(answer, asyncio.CancelledError(), new_error_id())

    async def _carry_out(self, steps: Steps | None, call: _Call) -> Any:
        """Makes the call, or answers it from its record; either is published."""
        self._log.check()
        answer = session_pb2.ToolResult(name=call.name)

        def publish(call_id: str) -> None:
            answer.call_id = call_id
            shown = session_pb2.ToolCall(call_id=call_id, name=call.name, arguments=call.shown)
            self._log.append(session_pb2.Event(tool_call=shown))
            self._open[call_id] = answer

        async def function(made: MadeCall) -> Any:
            if made.call_id not in self._open:
                # Invariant: a start is stored before the tool is called (tests/unit/agent_node/run/test_tool_calls.py).
                await self._store_start(made.call_id, call.name)
                publish(made.call_id)
            return to_plain_value(await self._tried(call, made), f"result of the tool {call.name}")

        try:
            ended = await self._recorded.carry_out(steps, call.own, function, publish, call.place)
            if ended.error is None:
                self._publish_result(answer, ended)
        except BaseException as error:
            self._publish_failure(answer, error, new_error_id())
            raise
        if ended.error is not None:
            self._publish_failure(answer, ended.error, ended.error_id, is_new=not ended.is_again)
            try:
                raise ended.error
            finally:
                del ended  # or else the error holds this frame, and this frame the error
        await asyncio.sleep(0)  # a tool need not await, nor need its agent yield: the event loop breathes here
        return ended.value

    async def _tried(self, call: _Call, made: MadeCall) -> Any:
        tries = 0
        while True:
            tries += 1
            try:
                async with self._env.clock.timeout(call.timeout_s):
                    return await call.function(made.idempotency_key, made.fencing_token)
            except Exception as error:
                self._log.check()
                if isinstance(error, NotJson | StorageConflict) or call.retry is None:
                    raise
                if not call.retry.tries_again(error, tries):
                    raise
                made.restart()
                await self._env.clock.sleep(call.retry.wait_s(tries))
                made.restart()

    async def _store_start(self, call_id: str, name: str) -> None:
        self._log.check()
        turn = self._turn
        if turn.tool_starts is not None:
            await turn.tool_starts(ToolStart(turn.turn_id, turn.attempt, call_id, name))
        else:
            self._env.audit.write("tool_started", turn.ref, epoch=self._epoch, turn=turn.turn_id, tool=name)

    def _publish_result(self, answer: session_pb2.ToolResult, ended: Ended) -> None:
        answer.result.CopyFrom(to_value(ended.value, f"result of the tool {answer.name}"))
        if self._open.pop(answer.call_id, None) is not None:
            self._log.append(session_pb2.Event(tool_result=answer))

    def _publish_failure(
        self, answer: session_pb2.ToolResult, error: BaseException, error_id: str, *, is_new: bool = True
    ) -> None:
        if self._open.pop(answer.call_id, None) is None:
            return
        answer.error_id, answer.reason = error_id, _reason_of(error)
        if is_new:
            # What ended the run is none of the tool's, and its traceback would show only our own frames.
            # By identity: the class of a tool's error may have an equality of its own.
            logged = None if any(type(error) is kind for kind in _OF_THE_RUN) else error
            log_failure("tool_failed", logged, tool=answer.name, reason=answer.reason, error_id=error_id)
        with suppress(AgentringError):  # the run's own ending says what ended it
            self._log.append(session_pb2.Event(tool_result=answer))


_OF_THE_RUN = (NodeFenced, StaleEpoch, StoreUnavailable)


def _reason_of(error: BaseException) -> str:
    kind = type(error)
    if issubclass(kind, asyncio.CancelledError):
        return "TOOL_CANCELLED"
    if kind is NotJson:
        return "RESULT_INVALID"
    return "TOOL_UNKNOWN" if kind is StepUnknown else "TOOL_ERROR"


def _jsonable(name: str, result: Any) -> Any:
    """Dataclasses, models, dates and the like as JSON."""
    try:
        return to_jsonable_python(result)
    except (PydanticSerializationError, ValueError):
        raise NotJson(f"result of the tool {name}", "$", type_name(type(result))) from None


def _digest(arguments: struct_pb2.Struct) -> str:
    """The same for the same arguments, without those that differ between attempts."""
    if any(name in arguments.fields for name in _HANDED):
        compared = struct_pb2.Struct()
        compared.CopyFrom(arguments)
        for name in _HANDED:
            compared.fields.pop(name, None)
        arguments = compared
    return blake2b(arguments.SerializeToString(deterministic=True), digest_size=16).hexdigest()


def _checked_name(name: Any) -> str:
    """A plain str, and no more than goes into an event and a log line."""
    if not issubclass(type(name), str):
        raise TypeError("a tool's name is a str")
    plain = str.__str__(name)
    if not 0 < len(plain.encode()) <= _NAME_BYTES:
        raise ValueError(f"a tool's name has 1 to {_NAME_BYTES} bytes")
    return plain


def detail_of(invalid: ToolArgumentInvalid) -> str:
    """What a client is told of it: the place and the kind of error, none of the values, and no words of an agent's."""
    try:
        first = invalid.problems[0]
        return f"arguments of the tool {invalid.tool} {first.path}: {first.kind}"[:_DETAIL_CHARS]
    except Exception:  # an agent can make one of anything
        return ""
