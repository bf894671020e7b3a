"""An agent of Pydantic AI as an agent of agentring.

Guarantees: a turn that is cut off goes on at its last finished step: neither its model calls nor its tools are paid or
done again; questions of tools that need approval are the user's to answer, for days if need be, on whichever node; the
conversation is the session's. When the turn ends, whatever ends it, nothing of the framework's run goes on.
"""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import is_dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import AgentRunResult, BinaryContent, UsageLimits, UserContent
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import HandleDeferredToolCalls, ReinjectSystemPrompt

from agentring.adapters.current import within
from agentring.adapters.pydantic_ai.durability import Durability, Recorder
from agentring.adapters.pydantic_ai.history import StateHistory
from agentring.adapters.pydantic_ai.questions import answered
from agentring.adapters.pydantic_ai.speech import Speech
from agentring.agent import Agent, AgentEvent, Context, File, FilePart, Result


def pydantic_ai_agent(
    agent: AbstractAgent[Any, Any],
    *,
    deps: Callable[[Context[Any]], Any] | None = None,
    usage_limits: UsageLimits | None = None,
    history_bytes: int = 256 << 10,
) -> Agent:
    """An agent of agentring that runs one of Pydantic AI, which is not changed.

        clerk = pydantic_ai_agent(Agent("openai:gpt-4.1-mini", tools=[stock, order]))

    Its words are the turn's text, its tool calls the turn's events, its output the result where it is no text. Each
    model call and each tool call is a step. A tool that needs approval asks the user, and so does one whose result
    comes from outside. deps: makes the run's dependencies; None: they are agentring's Context. usage_limits: as the
    framework's, of each turn. history_bytes: of what is kept of the conversation, in `ctx.state`, as JSON.

    Outside of agentring's steps are tools that the model's provider runs, and functions of outputs and instructions.
    The turn fails (AGENT_ERROR) with what the framework raises: UsageLimitExceeded, UnexpectedModelBehavior, and
    UserError for an agent that has no model or another durable engine.
    """

    async def run(ctx: Context[Any]) -> AsyncIterator[AgentEvent]:
        history = StateHistory(ctx, most_bytes=history_bytes)
        began = await ctx.now()
        prompt = await _prompt(ctx)
        speech: Speech[AgentRunResult[Any]] = Speech()
        recorder = Recorder(ctx, speech.say)

        async def call() -> AgentRunResult[Any]:
            with within(ctx):
                return await agent.run(
                    prompt,
                    deps=ctx if deps is None else deps(ctx),
                    message_history=history.messages(),
                    usage_limits=usage_limits,
                    capabilities=[
                        HandleDeferredToolCalls(answered),
                        # The turn that began with it may have been dropped. An id of its own leaves the author's alone.
                        ReinjectSystemPrompt(id="agentring_system_prompt"),
                        Durability(ctx, recorder, agent.name or "agent"),
                    ],
                )

        async with aclosing(speech.during(call)) as said:
            async for word in said:
                yield word
        history.add(speech.result.new_messages(), at=began)
        for event in _rest(speech.result.output, recorder.last_said):
            yield event

    run.__name__ = run.__qualname__ = "pydantic_ai_agent"
    # A node that is handed a module takes the agents that are defined there.
    run.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    return run


async def _prompt(ctx: Context[Any]) -> str | Sequence[UserContent]:
    files = [part for part in ctx.input_parts if isinstance(part, FilePart)]
    if not files:
        return ctx.input_text
    return [ctx.input_text, *[BinaryContent(await part.read(), media_type=part.media_type) for part in files]]


def _rest(output: Any, said: str) -> list[AgentEvent]:
    """What is left to say once the run is over. said: the words of its last answer."""
    if output is None or isinstance(output, str):
        return [output] if output and output != said else []
    if isinstance(output, BinaryContent):
        return [File(output.data, output.media_type)]
    data = TypeAdapter(type(output) if is_dataclass(output) else Any).dump_python(output, mode="json")
    return [Result(data if isinstance(data, dict) else {"output": data})]
