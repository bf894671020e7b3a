"""What an agent sees of its turn: what it was given, and all that it may do.

Guarantees: nothing is written to the log once the node may have lost its lease, or after the run's end; a tool's start
is kept before the tool is called; the words, the questions and the state stay within their bounds. Made by `run_agent`
(agent_run.py).
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from google.protobuf import struct_pb2

from agent_node.agent_errors import log_failure
from agent_node.events.log import EventLog
from agent_node.json_values import NotJson, changed_keys, from_struct, to_state, to_struct, to_value
from agent_node.once.arguments import with_arguments
from agent_node.run.environment import RunEnvironment
from agent_node.run.time_limit import PausableDeadline
from agent_node.run.yielded_text import YieldedText
from agent_node.store import ToolStart
from agent_node.store.once_records import OnceCaller
from agentring.agent import Answer, JsonObject, NobodyToAsk, PastTurn, Result
from agentring.errors import AgentringError
from agentring.ids import Epoch, NodeId, SessionRef, TaskRef
from agentring.v1 import session_pb2

_MOST_QUESTIONS = 100
_PROMPT_BYTES = 16 << 10
_TOOL_NAME_BYTES = 256
_KEYS_BYTES = 64 << 10
"""Of the names of changed keys that one event tells."""
_NOT_TOGETHER = "ask before or after a step of ctx.once, not meanwhile: waiting for an answer could cut the step off"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TurnInput:
    """What one run is about."""

    ref: SessionRef | TaskRef
    turn_id: str
    """Empty in tasks."""
    attempt: int
    text: str
    data: JsonObject
    state_json: str
    history: Sequence[PastTurn]
    turn_number: int
    tool_starts: Callable[[ToolStart], Awaitable[None]] | None = None
    """Keeps a tool's start before the call; None: nothing does."""
    questions: "Questions | None" = None
    """Asks the session's user; None: there is nobody to ask, as in tasks."""
    agent: str = ""
    """The agent's name."""
    deaths: int = 0
    """How many earlier runs ended with their node."""


class Questions(Protocol):
    """How one run asks. It holds none of the node's places for running turns while it waits."""

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """The answer to the run's so manieth question. tell: tells it, under its input_id; time: of the run, which is
        held meanwhile."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The agent came to its end."""

    text: str
    text_bytes: int
    state_json: str
    result: struct_pb2.Struct | None

    def to_event(self) -> session_pb2.TurnCompleted:
        """The ending event's body."""
        return session_pb2.TurnCompleted(result=self.result, text_bytes=self.text_bytes)


class Run:
    """One run under way, as its agent sees it: the Context. Made and used by `run_agent` (agent_run.py)."""

    def __init__(self, env: RunEnvironment, given: TurnInput, log: EventLog, epoch: Epoch) -> None:
        """given: what it is about; log: where its events go."""
        self._env = env
        self._given = given
        self._log = log
        self._epoch = epoch
        self._calls = 0
        self._asked = 0
        self._is_asking = False
        self._steps = 0
        """Calls of `once` under way."""
        self.time = PausableDeadline(env.limits.timeout_s)
        self._words = YieldedText(log, given.turn_id, given.attempt, env.limits.max_text_bytes)
        self._called: dict[str, session_pb2.ToolResult] = {}
        """Tools that have not answered."""
        self._over = False
        self.result: struct_pb2.Struct | None = None
        self.state: JsonObject = json.loads(given.state_json)

    @property
    def input_text(self) -> str:
        """As Context."""
        return self._given.text

    @property
    def input_data(self) -> JsonObject:
        """As Context."""
        return self._given.data

    @property
    def history(self) -> Sequence[PastTurn]:
        """As Context."""
        return self._given.history

    @property
    def turn_number(self) -> int:
        """As Context."""
        return self._given.turn_number

    @property
    def attempt(self) -> int:
        """As Context."""
        return self._given.attempt

    @property
    def node_id(self) -> NodeId:
        """As Context."""
        return self._env.node_id

    @property
    def fencing_token(self) -> Epoch:
        """As Context."""
        return self._epoch

    @property
    def idempotency_key(self) -> str:
        """As Context."""
        ref = self._given.ref
        if isinstance(ref, SessionRef):
            return f"{ref.tenant}/session/{ref.session_id}/{self._given.turn_id}"
        return f"{ref.tenant}/task/{ref.task_key}"

    async def tool(self, name: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Any:
        """As Context."""
        name = _tool_name(name)
        self._calls += 1
        call_id = f"{self._given.turn_id or 'task'}.{self._given.attempt}.{self._calls}"
        call = session_pb2.ToolCall(
            call_id=call_id, name=name, arguments=to_struct(arguments, f"arguments of the tool {name}")
        )
        await self._keep_start(call_id, name)
        self._append(session_pb2.Event(tool_call=call))
        answer = self._called[call_id] = session_pb2.ToolResult(call_id=call_id, name=name)
        try:
            result = await function(**arguments)
            answer.result.CopyFrom(to_value(result, f"result of the tool {name}"))
        except BaseException as error:
            self._tell_failed(answer, error)
            raise
        del self._called[call_id]
        self._append(session_pb2.Event(tool_result=answer))
        await asyncio.sleep(0)  # a tool need not await, nor need its agent yield: the event loop breathes here
        return result

    async def once(
        self,
        key: str,
        function: Callable[..., Awaitable[Any]],
        /,
        *,
        timeout_s: float = 60.0,
        idempotent: bool = True,
        args: Mapping[str, Any] | None = None,
    ) -> Any:
        """As Context."""
        self._check()
        function = with_arguments(function, args)
        if self._env.once is None:
            raise RuntimeError("this node runs no steps")
        if self._is_asking:
            raise RuntimeError(_NOT_TOGETHER)
        self._steps += 1
        try:
            return await self._env.once.call(
                OnceCaller(self._given.ref, self._given.turn_id),
                key,
                function,
                timeout_s=timeout_s,
                idempotent=idempotent,
                tell_unknown=lambda: self._tell_unknown(key),
            )
        finally:
            self._steps -= 1

    async def ask(self, prompt: str, *, schema: JsonObject | None = None) -> Answer:
        """As Context."""
        self._check()
        if (questions := self._given.questions) is None:
            raise NobodyToAsk("a task has nobody to ask")
        if self._steps:
            raise RuntimeError(_NOT_TOGETHER)
        if self._is_asking or self._asked == _MOST_QUESTIONS:
            raise RuntimeError(f"a turn asks one question at a time, and at most {_MOST_QUESTIONS}")
        if len(prompt.encode()) > _PROMPT_BYTES:
            raise ValueError(f"a question has at most {_PROMPT_BYTES} bytes")
        asked = session_pb2.InputRequired(
            prompt=prompt, schema=to_struct(schema, "schema") if schema is not None else None
        )

        def tell(input_id: str) -> None:
            asked.input_id = input_id
            self._append(session_pb2.Event(input_required=asked))

        self._asked += 1
        self._is_asking = True
        try:
            given = await questions.ask(self._asked, asked, tell, self.time)
        finally:
            self._is_asking = False
        return Answer(given.text, from_struct(given.data))

    def take(self, event: str | Result) -> None:
        """Deals with what the agent yielded. Raises NodeFenced, OutputLimit, NotJson."""
        if isinstance(event, str):
            self._check()
            self._words.take(event)
        elif isinstance(event, Result):
            self.result = to_struct(event.data)
        else:
            raise TypeError(f"an agent yields str or Result, not {type(event).__name__}")

    def completed(self) -> Completed:
        """The outcome, the agent having come to its end. Raises NotJson, OutputLimit, NodeFenced."""
        self._check()
        self._words.finish()
        state_json, state = to_state(self.state, self._env.limits.max_state_bytes)
        changed = changed_keys(self._given.state_json, state_json, state)
        if changed and self._given.turn_id:
            self._append(session_pb2.Event(state_changed=_state_changed(changed)))
        return Completed(self._words.text, self._words.size_bytes, state_json, self.result)

    def end(self) -> None:
        """The run is over: what an agent leaves behind, a task of its own say, writes nothing any more. Tools that it
        has called and that have not answered were cut off."""
        for answer in list(self._called.values()):
            self._tell_failed(answer, asyncio.CancelledError())
        self._over = True

    async def _keep_start(self, call_id: str, name: str) -> None:
        self._check()
        given = self._given
        if given.tool_starts is not None:
            await given.tool_starts(ToolStart(given.turn_id, given.attempt, call_id, name))
        else:
            self._env.audit.write("tool_started", given.ref, epoch=self._epoch, turn=given.turn_id, tool=name)

    def _tell_failed(self, answer: session_pb2.ToolResult, error: BaseException) -> None:
        """Every call that was told has its answer, whatever ends it; once."""
        if self._called.pop(answer.call_id, None) is None:
            return
        answer.error_id = new_error_id()
        answer.reason = "TOOL_ERROR"
        if issubclass(type(error), asyncio.CancelledError):
            answer.reason = "TOOL_CANCELLED"
        elif type(error) is NotJson:
            answer.reason = "RESULT_INVALID"
        log_failure("tool_failed", error, tool=answer.name, reason=answer.reason, error_id=answer.error_id)
        with suppress(AgentringError):  # what ends the run is told by whoever ends it
            self._append(session_pb2.Event(tool_result=answer))

    def _tell_unknown(self, key: str) -> None:
        if not self._over:
            self._append(session_pb2.Event(run_unknown=session_pb2.RunUnknown(once_key=key)))

    def _append(self, event: session_pb2.Event) -> None:
        self._check()
        event.turn_id, event.attempt = self._given.turn_id, self._given.attempt
        self._log.append(event)

    def _check(self) -> None:
        self._env.lease.check()
        if self._over:
            raise RuntimeError("the turn is over")


def _tool_name(given: Any) -> str:
    """A plain str, and no more than goes into an event and a log line."""
    if not issubclass(type(given), str):
        raise TypeError("a tool's name is a str")
    name = str.__str__(given)
    if len(name.encode()) > _TOOL_NAME_BYTES:
        raise ValueError(f"a tool's name has at most {_TOOL_NAME_BYTES} bytes")
    return name


def _state_changed(keys: Sequence[str]) -> session_pb2.StateChanged:
    """Names as many as go into one event."""
    told = session_pb2.StateChanged()
    room_bytes = _KEYS_BYTES
    for key in keys:
        room_bytes -= len(key.encode()) + 8
        if room_bytes < 0:
            told.has_more = True
            break
        told.keys.append(key)
    return told


def new_error_id() -> str:
    """What a client is told of an error, and the log names it by."""
    return uuid.uuid4().hex[:16]
