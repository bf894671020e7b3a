"""An agent of the OpenAI Agents SDK as an agent of agentring.

Guarantees: a turn that is cut off goes on at its last finished step: neither its model calls nor its tools are paid or
done again; questions of tools that need approval are the user's to answer, for days if need be, on whichever node; the
conversation is the session's. When the turn ends, whatever ends it, nothing of the SDK's run goes on.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import is_dataclass, replace
from typing import Any

from agents import Agent as SdkAgent
from agents import Model, RunConfig, Runner, RunResultStreaming, RunState
from agents.agent_output import AgentOutputSchemaBase
from pydantic import TypeAdapter

from agentring.adapters.consent import ask_consent
from agentring.adapters.current import within
from agentring.adapters.openai_agents.history import StateSession
from agentring.adapters.openai_agents.recorded_agents import RecordedAgents
from agentring.adapters.openai_agents.recorded_model import RecordedModel, RecordingProvider
from agentring.agent import Agent, AgentEvent, Context, Result

_MOST_APPROVALS = 100
"""Of a turn: as many as it may ask questions."""


def openai_agents_agent(
    agent: SdkAgent[Any],
    *,
    context: Callable[[Context[Any]], Any] | None = None,
    run_config: RunConfig | None = None,
    max_turns: int = 20,
    history_bytes: int = 256 << 10,
) -> Agent:
    """An agent of agentring that runs one of the SDK, which is not changed.

        clerk = openai_agents_agent(Agent(name="clerk", model="gpt-4.1-mini", tools=[stock, order]))

    Its words are the turn's text, its tool calls the turn's events, its final output the result where it is no text.
    Each model call and each call of a function tool is a step. A tool with `needs_approval` asks the user. context:
    makes the SDK's own context for tools and hooks; None: it is agentring's Context. run_config: as the SDK's.
    max_turns: model calls of a turn. history_bytes: of what is kept of the conversation, in `ctx.state`, as JSON.

    Outside of agentring's steps are tools of MCP servers and tools that the model's provider runs. The turn fails
    (AGENT_ERROR) with what the SDK raises: MaxTurnsExceeded, a guardrail's tripwire, a model that does not answer.
    """
    copy = RecordedAgents().of(agent)
    config = run_config or RunConfig()
    config = replace(
        config,
        model=RecordedModel(config.model) if isinstance(config.model, Model) else config.model,
        model_provider=RecordingProvider(config.model_provider),
    )

    async def run(ctx: Context[Any]) -> AsyncIterator[AgentEvent]:
        session = StateSession(ctx, most_bytes=history_bytes)
        sdk_context = ctx if context is None else context(ctx)
        said = _Said()
        begin: str | RunState[Any] = ctx.input_text
        for _ in range(_MOST_APPROVALS):
            with within(ctx):
                result = Runner.run_streamed(
                    copy,
                    begin,
                    context=sdk_context if isinstance(begin, str) else None,
                    max_turns=max_turns,
                    run_config=config,
                    session=session,
                )
            async with aclosing(_words(result, said)) as words:
                async for word in words:
                    yield word
            if not result.interruptions:
                for event in said.rest(result.final_output):
                    yield event
                return
            begin = await _approved(ctx, result)
        raise RuntimeError(f"more than {_MOST_APPROVALS} rounds of approvals in one turn")

    # An agent of the module that makes it, which `agentring dev FILE` and `--agent MODULE` find as those defined there.
    run.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    run.__name__ = run.__qualname__ = "openai_agents_agent"
    return run


class _Said:
    """What of the SDK's output has been said."""

    def __init__(self) -> None:
        self.is_any = False

    def rest(self, output: Any) -> list[AgentEvent]:
        """What is left to say once the run is over."""
        if output is None or isinstance(output, str):
            return [output] if output and not self.is_any else []
        data = TypeAdapter(type(output) if is_dataclass(output) else Any).dump_python(output, mode="json")
        return [Result(data if isinstance(data, dict) else {"output": data})]


async def _words(result: RunResultStreaming, said: _Said) -> AsyncGenerator[str]:
    """The words as they come; those of an agent whose output is no text are not for people."""
    try:
        async for event in result.stream_events():
            if event.type != "raw_response_event" or event.data.type != "response.output_text.delta":
                continue
            if _says_text(result.current_agent):
                said.is_any = True
                yield event.data.delta
    finally:
        await _ended(result)


async def _ended(result: RunResultStreaming) -> None:
    """Nothing of the run goes on."""
    if (task := result.run_loop_task) is None or task.done():
        return
    result.cancel()
    task.cancel()
    await asyncio.wait([task])


def _says_text(agent: SdkAgent[Any]) -> bool:
    kind = agent.output_type
    if isinstance(kind, AgentOutputSchemaBase):
        return kind.is_plain_text()
    return kind is None or kind is str


async def _approved(ctx: Context[Any], result: RunResultStreaming) -> RunState[Any]:
    """Asks for each call that needs approval, one after the other."""
    state = result.to_state()
    for item in result.interruptions:
        consent = await ask_consent(ctx, item.name or "a tool", item.arguments or "")
        if consent.is_given:
            state.approve(item)
        else:
            message = f"The user did not allow this call{': ' + consent.reason if consent.reason else '.'}"
            state.reject(item, rejection_message=message)
    return state
