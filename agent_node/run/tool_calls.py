"""The tools that one run calls.

Guarantees: a tool's start is stored before the tool is called; every call that is published has its result published
too, whatever ends it, and once. Used by RunContext (context.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import to_jsonable_python

from agent_node.agent_errors import log_failure
from agent_node.json_values import NotJson, to_struct, to_value
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import new_error_id
from agent_node.run.run_input import TurnInput
from agent_node.run.run_log import RunLog
from agent_node.store import ToolStart
from agentring.agent import Context, Tool, ToolArgumentInvalid
from agentring.errors import AgentringError
from agentring.ids import Epoch
from agentring.v1 import session_pb2

_NAME_BYTES = 256
_DETAIL_CHARS = 1_000


class ToolCalls:
    """One run's calls."""

    def __init__(self, env: RunEnvironment, turn: TurnInput, log: RunLog, epoch: Epoch) -> None:
        """log: where calls and results are published."""
        self._env = env
        self._turn = turn
        self._log = log
        self._epoch = epoch
        self._count = 0
        self._open: dict[str, session_pb2.ToolResult] = {}
        """Calls without a result."""

    async def call(self, name: str, function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]) -> Any:
        """As Context.tool."""
        name = _checked_name(name)
        self._count += 1
        call_id = f"{self._turn.turn_id or 'task'}.{self._turn.attempt}.{self._count}"
        call = session_pb2.ToolCall(
            call_id=call_id, name=name, arguments=to_struct(arguments, f"arguments of the tool {name}")
        )
        # Invariant: a start is stored before the tool is called (tests/unit/agent_node/run/test_tool_calls.py).
        await self._store_start(call_id, name)
        self._log.append(session_pb2.Event(tool_call=call))
        answer = self._open[call_id] = session_pb2.ToolResult(call_id=call_id, name=name)
        try:
            result = await function(**arguments)
            answer.result.CopyFrom(to_value(result, f"result of the tool {name}"))
        except BaseException as error:
            self._publish_failure(answer, error)
            raise
        del self._open[call_id]
        self._log.append(session_pb2.Event(tool_result=answer))
        await asyncio.sleep(0)  # a tool need not await, nor need its agent yield: the event loop breathes here
        return result

    async def call_tool(self, ctx: Context, tool: Tool[..., Any], arguments: Mapping[str, Any] | str) -> Any:
        """As Context.call_tool."""
        checked = tool.check(arguments)
        handed = {"ctx": ctx, "idempotency_key": ctx.idempotency_key, "fencing_token": ctx.fencing_token}
        values = checked.values | {name: handed[name] for name in tool.handed}

        async def function(**_: Any) -> Any:
            return to_jsonable_python(await tool.function(**values))

        return await self.call(tool.name, function, checked.plain)

    def end(self) -> None:
        """The run is over: the calls without a result were cut off."""
        for answer in list(self._open.values()):
            self._publish_failure(answer, asyncio.CancelledError())

    async def _store_start(self, call_id: str, name: str) -> None:
        self._log.check()
        turn = self._turn
        if turn.tool_starts is not None:
            await turn.tool_starts(ToolStart(turn.turn_id, turn.attempt, call_id, name))
        else:
            self._env.audit.write("tool_started", turn.ref, epoch=self._epoch, turn=turn.turn_id, tool=name)

    def _publish_failure(self, answer: session_pb2.ToolResult, error: BaseException) -> None:
        if self._open.pop(answer.call_id, None) is None:
            return
        answer.error_id = new_error_id()
        answer.reason = "TOOL_ERROR"
        if issubclass(type(error), asyncio.CancelledError):
            answer.reason = "TOOL_CANCELLED"
        elif type(error) is NotJson:
            answer.reason = "RESULT_INVALID"
        log_failure("tool_failed", error, tool=answer.name, reason=answer.reason, error_id=answer.error_id)
        with suppress(AgentringError):  # the run's own ending says what ended it
            self._log.append(session_pb2.Event(tool_result=answer))


def _checked_name(name: Any) -> str:
    """A plain str, and no more than goes into an event and a log line."""
    if not issubclass(type(name), str):
        raise TypeError("a tool's name is a str")
    plain = str.__str__(name)
    if len(plain.encode()) > _NAME_BYTES:
        raise ValueError(f"a tool's name has at most {_NAME_BYTES} bytes")
    return plain


def detail_of(invalid: ToolArgumentInvalid) -> str:
    """What a client is told of it: the place and the kind of error, none of the values, and no words of an agent's."""
    try:
        first = invalid.problems[0]
        return f"arguments of the tool {invalid.tool} {first.path}: {first.kind}"[:_DETAIL_CHARS]
    except Exception:  # an agent can make one of anything
        return ""
