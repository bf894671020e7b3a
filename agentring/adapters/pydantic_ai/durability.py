"""agentring as a durable engine of Pydantic AI, by its interface for engines of others.

Guarantees: a model's answer that is recorded is not paid again, whichever node goes on with the turn; its words come as
the model sends them, and from the record in later attempts. Operations of capabilities (compaction, workspaces) are
steps as well. An engine's part with tools is recorded_tools.py's, since toolsets need no id there.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from pydantic_ai import AbstractToolset, RunContext
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    EventStreamHandlerId,
    JournalCallableOperationBackend,
    ModelCompactMessagesId,
    ModelRequestId,
    RoleBasedOperationConfig,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models import Model, ModelRequestContext

from agentring import usage
from agentring.adapters.pydantic_ai.recorded_tools import RecordedTools
from agentring.adapters.pydantic_ai.speech import Speech
from agentring.agent import Context

_NO_CONFIG = RoleBasedOperationConfig[None](model=None, event=None, capability=None, tool=None)
_FOR_PROGRAMS = frozenset({"native", "prompted"})
"""Modes of an output that the model writes as text, JSON say, which is not for people."""


class Recorder:
    """The steps of one run."""

    def __init__(self, ctx: Context[Any], say: Callable[[str], Awaitable[None]]) -> None:
        """say: hands a word to the client."""
        self._ctx = ctx
        self._say = say
        self._answer: Speech[object] = Speech()
        """Of the model call under way, of which there is one at a time."""
        self.is_for_people = True
        """Whether the words of the next answer are."""
        self.last_said = ""
        """The words of the latest answer."""

    async def record(self, kind: DurableOperationId, name: str, body: Callable[[], Awaitable[object]]) -> object:
        """What an operation returns, as JSON. Raises as Context.step."""
        if isinstance(kind, EventStreamHandlerId):
            return await body()  # of the framework's own events, which `hear` drops
        if isinstance(kind, ModelRequestId):
            found: Any = await self._model_answer(body)
        else:
            found = await self._ctx.step(name, body)
        if isinstance(kind, ModelRequestId | ModelCompactMessagesId):
            self._ctx.add_usage(_usage(found))
        return found

    async def hear(self, _: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        """The framework's handler of events, which it calls within the step of a model call."""
        async for event in events:
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                await self._answer.say(event.part.content)
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                await self._answer.say(event.delta.content_delta)

    async def _model_answer(self, body: Callable[[], Awaitable[object]]) -> object:
        async def pieces() -> AsyncGenerator[Any]:
            self._answer = Speech()
            async with aclosing(self._answer.during(body)) as answer:
                async for word in answer:
                    yield word
            yield self._answer.result

        said: list[str] = []
        # Known by its place: prompts may change with the clock, and the run is one conversation.
        steps = self._ctx.stream_step("model", pieces)
        async with steps:
            async for word in steps:
                said.append(word)
                if self.is_for_people:
                    await self._say(word)
        self.last_said = "".join(said) if self.is_for_people else ""
        return steps.result


class Durability(BaseDurabilityCapability[Any]):
    """The engine, for one run."""

    engine_spec = DurabilityEngineSpec(
        engine_name="agentring",
        durable_unit_noun="step",
        durable_container_noun="turn",
        codec=JSON_CODEC,
        wrapped_toolset_kinds=frozenset(),
        toolset_lifecycles={},
    )

    def __init__(self, ctx: Context[Any], recorder: Recorder, name: str) -> None:
        """name: the agent's, of which names of steps are made."""
        super().__init__(event_stream_handler=recorder.hear, name=name)
        self._ctx = ctx
        self._recorder = recorder

    @property
    def in_durable_context(self) -> bool:
        """As BaseDurabilityCapability: it is made for a turn."""
        return True

    def get_default_run_id(self) -> str:
        """As AbstractCapability: the same in every attempt, since a turn has one run."""
        return self._ctx.turn_id or self._ctx.task_key

    def get_default_conversation_id(self, run_id: str) -> str:
        """As AbstractCapability."""
        return self._ctx.session_id or self._ctx.task_key

    def get_durable_operation_backend(self) -> DurableOperationBackend[None]:
        """As BaseDurabilityCapability."""
        return _Backend(self._recorder, self.name)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """As AbstractCapability."""
        return toolset.visit_and_replace(RecordedTools)

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """As AbstractCapability."""
        mode: str = request_context.model_request_parameters.output_mode
        if mode == "auto" and isinstance(ctx.model, Model):
            mode = ctx.model.profile.get("default_structured_output_mode", "tool")
        self._recorder.is_for_people = mode not in _FOR_PROGRAMS
        return await super().before_model_request(ctx, request_context)

    def _find_model_id(self, model: Model) -> str | None:
        """As BaseDurabilityCapability, whose own refuses models it was not made with: one of `Agent.override`, or of
        another capability. Here steps are in the process of the run, and such a model is as good as any."""
        try:
            return super()._find_model_id(model)
        except UserError:
            name = f"model {len(self._models_by_id)}"
            self._models_by_id[name] = model
            return name

    def _bind_to_agent(self, agent: AbstractAgent[Any, Any]) -> None:
        """As BaseDurabilityCapability, whose own refuses toolsets without an id; this engine needs none."""


class _Backend(JournalCallableOperationBackend[None]):
    def __init__(self, recorder: Recorder, agent_name: str) -> None:
        super().__init__(agent_name=agent_name, config=_NO_CONFIG)
        self._recorder = recorder

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: None,
    ) -> object:
        return await self._recorder.record(operation_id, name, body)


def _usage(answer: dict[str, Any]) -> usage.Usage:
    """Of a ModelResponse as JSON."""
    used = answer.get("usage") or {}
    read = used.get("input_tokens", 0)
    return usage.Usage(read, used.get("output_tokens", 0), min(used.get("cache_read_tokens", 0), read), 1)
