"""Runs an agent once: a turn of a session, or a task's run.

Guarantees: the run ends, by itself, by its deadline, by its bounds (words, state) or by cancellation, whatever the
agent makes of these, and its outcome is returned, not raised; nothing is written to the log once the node may have lost
its lease, or after the run's end; an agent that never awaits still lets the node's event loop breathe between its
events. Does not guarantee that an agent which blocks the loop is stopped: it costs the node its lease. Does not write
the ending event: that follows the store's commit, which is the caller's."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from google.protobuf import struct_pb2

from agent_node.agent import Agent, Answer, JsonObject, NobodyToAsk, PastTurn, Result
from agent_node.audit import AuditLog
from agent_node.bounded import DeadlineMet, TimeLeft, TooManyLetGo, run_bounded
from agent_node.event_log import EventLog
from agent_node.json_values import NotJson, changed_keys, from_struct, to_struct, to_value
from agent_node.log_entries import READ_BYTES
from agent_node.once import Once
from agent_node.store import Ownership, ToolStart
from agent_node.store.once_records import OnceCaller
from agentring.cluster.lease import Lease
from agentring.ids import Epoch, Incarnation, NodeId, SessionRef, TaskRef
from agentring.v1 import session_pb2

_BREATHE_EVERY = 32
_CANCEL_GRACE_S = 2.0
_MOST_QUESTIONS = 100
_PROMPT_BYTES = 16 << 10
_NOT_TOGETHER = "ask before or after a step of ctx.once, not meanwhile: waiting for an answer could cut the step off"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """What one run may take."""

    timeout_s: float
    max_text_bytes: int
    max_state_bytes: int
    max_history_turns: int = 100
    """Completed turns of a session that its agent sees."""
    max_attempts: int = 10
    """Runs of one turn; one that is cut off so often takes its nodes with it."""
    cancel_grace_s: float = _CANCEL_GRACE_S
    """How long an agent may take to end once it is cancelled or its time is over; then it is let go."""


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


class Questions(Protocol):
    """How one run asks. It holds none of the node's places for running turns while it waits."""

    async def ask(self, ordinal: int, tell: Callable[[str], None], time: TimeLeft) -> session_pb2.Input:
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


@dataclass(frozen=True, slots=True)
class Failed:
    """The agent raised or went beyond a bound."""

    reason: str
    error_id: str

    def to_event(self) -> session_pb2.TurnFailed:
        """The ending event's body."""
        return session_pb2.TurnFailed(reason=self.reason, error_id=self.error_id)


@dataclass(frozen=True, slots=True)
class RunEnvironment:
    """What every run on this incarnation of the node has in common."""

    node_id: NodeId
    lease: Lease
    audit: AuditLog
    limits: TurnLimits
    incarnation: Incarnation
    once: Once | None = None
    """Single-flight for steps; None: there is none."""

    def ownership(self, ref: SessionRef, epoch: Epoch) -> Ownership:
        """What the store compares with the writes of a session that this incarnation has claimed."""
        return Ownership(ref, epoch, self.owner)

    @property
    def owner(self) -> str:
        """Names the incarnation in the store."""
        return f"{self.node_id}/{self.incarnation}"


class _OutputLimit(Exception):
    """More words than allowed."""


class Run:
    """One run under way, as its agent sees it: the TurnContext. Made and used by `run_agent`."""

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
        self.time = TimeLeft(env.limits.timeout_s)
        self._texts: list[str] = []
        self.text_bytes = 0
        self.over = False
        """Set by `run_agent`: what an agent leaves behind, a task of its own say, writes nothing any more."""
        self.result: struct_pb2.Struct | None = None
        self.state: JsonObject = json.loads(given.state_json)

    @property
    def input_text(self) -> str:
        """As TurnContext."""
        return self._given.text

    @property
    def input_data(self) -> JsonObject:
        """As TurnContext."""
        return self._given.data

    @property
    def history(self) -> Sequence[PastTurn]:
        """As TurnContext."""
        return self._given.history

    @property
    def turn_number(self) -> int:
        """As TurnContext."""
        return self._given.turn_number

    @property
    def attempt(self) -> int:
        """As TurnContext."""
        return self._given.attempt

    @property
    def node_id(self) -> NodeId:
        """As TurnContext."""
        return self._env.node_id

    @property
    def fencing_token(self) -> Epoch:
        """As TurnContext."""
        return self._epoch

    @property
    def idempotency_key(self) -> str:
        """As TurnContext."""
        ref = self._given.ref
        if isinstance(ref, SessionRef):
            return f"{ref.tenant}/session/{ref.session_id}/{self._given.turn_id}"
        return f"{ref.tenant}/task/{ref.task_key}"

    async def tool(self, name: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Any:
        """As TurnContext."""
        self._calls += 1
        call_id = f"{self._given.turn_id or 'task'}.{self._given.attempt}.{self._calls}"
        call = session_pb2.ToolCall(call_id=call_id, name=name, arguments=to_struct(arguments))
        await self._keep_start(call_id, name)
        self._append(session_pb2.Event(tool_call=call))
        answer = session_pb2.ToolResult(call_id=call_id, name=name)
        try:
            result = await function(**arguments)
        except Exception:
            answer.error_id = _error_id()
            _log.warning("tool_failed", tool=name, error_id=answer.error_id, exc_info=True)
            self._append(session_pb2.Event(tool_result=answer))
            raise
        answer.result.CopyFrom(to_value(result))
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
    ) -> Any:
        """As TurnContext."""
        self._check()
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
        """As TurnContext."""
        self._check()
        if (questions := self._given.questions) is None:
            raise NobodyToAsk("a task has nobody to ask")
        if self._steps:
            raise RuntimeError(_NOT_TOGETHER)
        if self._is_asking or self._asked == _MOST_QUESTIONS:
            raise RuntimeError(f"a turn asks one question at a time, and at most {_MOST_QUESTIONS}")
        if len(prompt.encode()) > _PROMPT_BYTES:
            raise ValueError(f"a question has at most {_PROMPT_BYTES} bytes")
        asked = session_pb2.InputRequired(prompt=prompt, schema=to_struct(schema) if schema is not None else None)

        def tell(input_id: str) -> None:
            asked.input_id = input_id
            self._append(session_pb2.Event(input_required=asked))

        self._asked += 1
        self._is_asking = True
        try:
            given = await questions.ask(self._asked, tell, self.time)
        finally:
            self._is_asking = False
        return Answer(given.text, from_struct(given.data))

    def take(self, event: str | Result) -> None:
        """Deals with what the agent yielded. Raises NodeFenced, _OutputLimit, NotJson."""
        if isinstance(event, str):
            if event:
                self._take_words(event)
        elif isinstance(event, Result):
            self.result = to_struct(event.data)
        else:
            raise TypeError(f"an agent yields str or Result, not {type(event).__name__}")

    def completed(self) -> Completed:
        """The outcome, the agent having come to its end. Raises NotJson, NodeFenced."""
        try:
            state_json = json.dumps(self.state, ensure_ascii=False, allow_nan=False)
            size_bytes = len(state_json.encode())
            changed = changed_keys(self._given.state_json, state_json)
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise NotJson from error
        if size_bytes > self._env.limits.max_state_bytes:
            raise NotJson
        if changed and self._given.turn_id:
            self._append(session_pb2.Event(state_changed=session_pb2.StateChanged(keys=changed)))
        return Completed("".join(self._texts), self.text_bytes, state_json, self.result)

    async def _keep_start(self, call_id: str, name: str) -> None:
        self._check()
        given = self._given
        if given.tool_starts is not None:
            await given.tool_starts(ToolStart(given.turn_id, given.attempt, call_id, name))
        else:
            self._env.audit.write("tool_started", given.ref, epoch=self._epoch, turn=given.turn_id, tool=name)

    def _tell_unknown(self, key: str) -> None:
        if not self.over:
            self._append(session_pb2.Event(run_unknown=session_pb2.RunUnknown(once_key=key)))

    def _take_words(self, text: str) -> None:
        self._check()
        size_bytes = len(text.encode())
        if self.text_bytes + size_bytes > self._env.limits.max_text_bytes:
            raise _OutputLimit
        # No event is larger than what the log merges: a character takes at most 4 bytes.
        for start in range(0, len(text), READ_BYTES // 4):
            piece = text[start : start + READ_BYTES // 4]
            self.text_bytes += self._log.append_text(self._given.turn_id, self._given.attempt, self.text_bytes, piece)
        self._texts.append(text)

    def _append(self, event: session_pb2.Event) -> None:
        self._check()
        event.turn_id, event.attempt = self._given.turn_id, self._given.attempt
        self._log.append(event)

    def _check(self) -> None:
        self._env.lease.check()
        if self.over:
            raise RuntimeError("the turn is over")


async def run_agent(
    env: RunEnvironment, agent: Agent, given: TurnInput, log: EventLog, epoch: Epoch
) -> Completed | Failed:
    """Runs the agent to its end.

    Raises NodeFenced if the lease may be gone. Cancellation: the agent is cancelled, what it wrote to the log stays.
    """
    run = Run(env, given, log, epoch)
    limits = env.limits
    try:
        cause = await run_bounded(lambda: _drive(agent, run), time=run.time, grace_s=limits.cancel_grace_s, whose=agent)
        if cause is None:
            return run.completed()
    except NotJson as error:
        cause = error
    finally:
        run.over = True
    env.lease.check()  # before anything is made of the agent's NodeFenced, which may also be its own
    reason = _REASONS.get(type(cause), "AGENT_ERROR")
    error_id = _error_id()
    # Where a bound was met the traceback would show only our own frames.
    _log.warning("agent_failed", reason=reason, error_id=error_id, exc_info=cause if reason == "AGENT_ERROR" else None)
    return Failed(reason, error_id)


_REASONS: dict[type[BaseException], str] = {
    DeadlineMet: "TURN_DEADLINE",
    TooManyLetGo: "AGENT_STUCK",
    _OutputLimit: "OUTPUT_LIMIT",
    NotJson: "STATE_INVALID",
}


async def _drive(agent: Agent, run: Run) -> None:
    events: AsyncIterator[str | Result] | Coroutine[Any, Any, Any] = agent(run)
    if isinstance(events, Coroutine):
        events.close()
        raise TypeError("an agent is an async generator; a coroutine function that never yields is none")
    count = 0
    try:
        async for event in events:
            _raise_if_cancelled()
            run.take(event)
            count += 1
            if count % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
    finally:
        # Any async iterator will do; what has nothing to close need not be closed.
        if (close := getattr(events, "aclose", None)) is not None:
            await close()


def _raise_if_cancelled() -> None:
    """For agents that swallow their cancellation, or their deadline's: the next event is their last."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def attempts_exhausted(attempt: int) -> Failed:
    """The outcome of a turn that was cut off in every run that it was allowed."""
    error_id = _error_id()
    _log.error("attempts_exhausted", attempts=attempt - 1, error_id=error_id)
    return Failed("ATTEMPTS_EXHAUSTED", error_id)


def _error_id() -> str:
    return uuid.uuid4().hex[:16]
