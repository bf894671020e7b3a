"""What an agent sees of its turn: its input, and all that it may do.

Guarantees: nothing is written to the log once the node may have lost its lease, or after the run's end; the text, the
questions and the state stay within their bounds. Made by `run_agent` (agent_run.py).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from google.protobuf import struct_pb2

from agent_node.json_values import changed_keys, from_struct, to_struct
from agent_node.once.arguments import with_arguments
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import Completed
from agent_node.run.recorded_calls import OwnCall, RecordedCalls
from agent_node.run.republished import Republished
from agent_node.run.run_info import RunInfo
from agent_node.run.run_input import RunEvents, TurnInput
from agent_node.run.run_log import RunLog
from agent_node.run.run_messages import RunMessages
from agent_node.run.run_output import RunOutput
from agent_node.run.run_steps import NOT_TOGETHER, RunSteps
from agent_node.run.run_usage import RunUsage
from agent_node.run.time_limit import Stop
from agent_node.run.tool_calls import ToolCalls
from agent_node.run.typed_state import VERSION_KEY, open_state, to_store
from agent_node.step.asked import asked
from agent_node.store.once_records import OnceCaller
from agentring.agent import Answer, JsonObject, NobodyToAsk, OnceUnknown, PastTurn, Result, Tool
from agentring.agent.declaration import AgentOptions
from agentring.errors import AgentringError
from agentring.ids import Epoch, parse_once
from agentring.v1 import session_pb2

_MOST_QUESTIONS = 100
_ONE_QUESTION = f"a turn asks one question at a time, and at most {_MOST_QUESTIONS}"
_PROMPT_BYTES = 16 << 10
_KEYS_BYTES = 64 << 10
"""Of the names of changed keys that one event lists."""


class RunContext(RunSteps, RunUsage, RunInfo, RunOutput, RunMessages):
    """One run under way, as its agent sees it: its Context. Made and used by `run_agent` (agent_run.py)."""

    def __init__(
        self, env: RunEnvironment, options: AgentOptions, turn: TurnInput, log: RunEvents, epoch: Epoch, stop: Stop
    ) -> None:
        """options: the agent's; turn: what it is a run of; log: where its events go; stop: whether it was asked to
        end."""
        republished = None
        if turn.published and turn.restart is not None:
            log = republished = Republished(log, turn.published, turn.turn_seq, turn.restart, self.words_differ)
        run_log = RunLog(env.lease, log, turn.turn_id, turn.attempt, env.limits.max_text_bytes)
        timeout_s = turn.terms.timeout_s or options.timeout_s or env.limits.timeout_s
        super().__init__(env, turn, run_log, epoch, stop, timeout_s, republished)
        self._questions_asked = 0
        self.text = self._log.text
        """Which takes what the agent yields as exactly a str, unless `unpublished`."""
        self.unpublished: AgentringError | None = None
        """Why text could not be published."""
        attempt = f"{turn.turn_id or 'task'}.{turn.attempt}"
        self._calls = RecordedCalls(attempt, self.idempotency_key, epoch)
        self._once_open = 0
        """Calls of `once` under way."""
        self._tools = ToolCalls(env, turn, self._log, epoch, self._calls)
        self._changed_keys: Sequence[str] = ()
        """Of the state, once the agent has come to its end."""
        self.result: struct_pb2.Struct | None = None
        self.state: Any = None
        """Until `begin`."""
        self._options = options

    @property
    def input_text(self) -> str:
        """As Context."""
        return self._turn.text

    @property
    def input_data(self) -> JsonObject:
        """As Context."""
        return self._turn.data

    @property
    def history(self) -> Sequence[PastTurn]:
        """As Context."""
        return self._turn.history

    async def tool(self, name: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Any:
        """As Context."""
        return await self._tools.call(self.recorded_steps, name, function, arguments)

    async def call_tool(
        self, tool: Tool[..., Any], arguments: Mapping[str, Any] | str, /, *, key: str | None = None
    ) -> Any:
        """As Context."""
        if self._is_asking and not tool.idempotent:
            raise RuntimeError(NOT_TOGETHER)
        return await self._tools.call_tool(self.recorded_steps, self, tool, arguments, key)

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
        self._log.check()
        function = with_arguments(function, args)
        if (once := self._env.once) is None:
            raise RuntimeError("this node runs no steps")
        if self._is_asking:
            raise RuntimeError(NOT_TOGETHER)
        parse_once(self._turn.ref.tenant, key)  # so that a malformed one is refused as such

        async def call(*_: Any) -> Any:
            return await once.call(
                OnceCaller(self._turn.ref, self._turn.turn_id),
                key,
                function,
                timeout_s=timeout_s,
                idempotent=idempotent,
                publish_unknown=lambda: self._publish_unknown(key),
                may_run=self._gate.pass_by,
            )

        self._once_open += 1
        try:
            ended = await self._calls.carry_out(self.recorded_steps, OwnCall("once", key, key), call)
        finally:
            self._once_open -= 1
        if ended.error is not None:
            if ended.is_again and isinstance(ended.error, OnceUnknown):
                self._publish_unknown(key)
            try:
                raise ended.error
            finally:
                del ended  # or else the error holds this frame, and this frame the error
        return ended.value

    async def ask(self, prompt: str, *, schema: JsonObject | None = None) -> Answer:
        """As Context."""
        self._log.check()
        if (questions := self._turn.questions) is None:
            raise NobodyToAsk("a task has nobody to ask")
        if self._once_open or self.are_steps_open:
            raise RuntimeError(NOT_TOGETHER)
        if self._is_asking or self._questions_asked == _MOST_QUESTIONS:
            raise RuntimeError(_ONE_QUESTION)
        if len(prompt.encode()) > _PROMPT_BYTES:
            raise ValueError(f"a question has at most {_PROMPT_BYTES} bytes")
        question = session_pb2.InputRequired(
            prompt=prompt, schema=to_struct(schema, "schema") if schema is not None else None
        )

        def publish(input_id: str) -> None:
            question.input_id = input_id
            self._log.append(session_pb2.Event(input_required=question))

        async def ask(number: int) -> session_pb2.Input:
            if number > _MOST_QUESTIONS:
                raise RuntimeError(_ONE_QUESTION)
            return await questions.ask(number, question, publish, self.time)

        self._questions_asked += 1
        self._is_asking = True
        try:
            steps = self.recorded_steps
            answer = await (ask(self._questions_asked) if steps is None else asked(steps, ask))
        finally:
            self._is_asking = False
        return Answer(answer.text, from_struct(answer.data))

    def begin(self) -> None:
        """Called before the agent. Raises NotJson, StateTooNew, and what the agent's own migration raises."""
        self.state = open_state(self._options, self._turn.state_json)

    def take(self, event: str | Result) -> None:
        """Deals with what the agent yielded; text is published by `publish_text`. Raises NodeFenced, OutputLimit,
        NotJson, and what text could not be published with."""
        if self.unpublished is not None:
            raise self.unpublished
        if isinstance(event, str):
            self.text.take(str.__str__(event))  # not what a subclass says of itself
        elif isinstance(event, Result):
            self.result = to_struct(event.data)
        else:
            raise TypeError(f"an agent yields str, Result or File, not {type(event).__name__}")

    def publish_text(self) -> None:
        """Publishes the text that was taken; called before anybody else's code runs. What prevents it is raised at the
        agent's next event, or its end."""
        try:
            self.text.publish()
        except AgentringError as error:
            self.unpublished = error

    def completed(self) -> Completed:
        """The outcome, the agent having come to its end. Raises NotJson, OutputLimit, NodeFenced."""
        if self.unpublished is not None:
            raise self.unpublished
        self._log.check()
        self.text.finish()
        state_json, state = to_store(self._options, self.state, self._env.limits.max_state_bytes)
        changed = changed_keys(self._turn.state_json, state_json, state)
        self._changed_keys = [key for key in changed if key != VERSION_KEY]
        return Completed(self.text.text, self.text.size_bytes, state_json, self.result, self.usage)

    def publish_changes(self) -> None:
        """Publishes what of the state the run changed, where it is a turn. Raises NodeFenced, and what the log
        raises."""
        self._log.check()
        if self._changed_keys and self._turn.turn_id:
            self._log.append(session_pb2.Event(state_changed=_state_changed(self._changed_keys)))

    def end(self) -> None:
        """The run is over: what an agent leaves behind, a task of its own say, writes nothing any more. Tools that it
        has called and that have not answered were cut off."""
        self._tools.end()
        self.end_steps()
        self._log.close()

    def _publish_unknown(self, key: str) -> None:
        if not self._log.is_closed:
            self._log.append(session_pb2.Event(run_unknown=session_pb2.RunUnknown(once_key=key)))


def _state_changed(keys: Sequence[str]) -> session_pb2.StateChanged:
    """Names as many as go into one event."""
    changed = session_pb2.StateChanged()
    left_bytes = _KEYS_BYTES
    for key in keys:
        left_bytes -= len(key.encode()) + 8
        if left_bytes < 0:
            changed.has_more = True
            break
        changed.keys.append(key)
    return changed
