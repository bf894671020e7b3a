"""An agent that is a model with tools: it answers, calls tools as long as the model wants them, and remembers.

Guarantees: each model call and each tool call is a step of the turn; calls of one answer run side by side; what is
wrong with a call (unknown tool, arguments, what the tool raised) is told to the model, which may do better; a tool that
needs consent is called only after the user's yes.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from agentring.agent import Agent, AgentEvent, AgentringError, Context, NobodyToAsk, Result, Tool
from agentring.models.calls import stream
from agentring.models.conversation import Conversation
from agentring.models.messages import Message, assistant, system, tool_result, user
from agentring.models.model import Model
from agentring.models.reply import ToolCall
from agentring.shown_call import shown_call

_MOST_ERROR = 1_000
_YES = frozenset({"y", "yes", "ok", "okay", "sure"})


def chat_agent(
    model: Model,
    *,
    instructions: str = "",
    tools: Sequence[Tool[..., Any]] = (),
    asks_before: Collection[str] = (),
    most_rounds: int = 20,
    history_bytes: int = 128 << 10,
) -> Agent:
    """An agent of a model and its tools.

        clerk = chat_agent(OpenAIModel("gpt-4.1-mini"), instructions="You sell tea.", tools=[look_up, order])

    instructions: the system's message. tools: made by `@tool` or `Tool(...)`. asks_before: names of those that are
    called only after the user has said yes to the call. most_rounds: model calls of a turn. history_bytes: of what the
    model is told of earlier turns, some 4 to a token; it is kept in `ctx.state["conversation"]`.

    Its result is `{"finish_reason": ..., "rounds": ...}`; `rounds` as finish_reason where most_rounds were not enough.
    The turn fails (StepFailed in the log) where the model does not answer. Raises ValueError.
    """
    by_name = {tool.name: tool for tool in tools}
    if len(by_name) != len(tools):
        raise ValueError("two tools have the same name")
    if unknown := sorted(set(asks_before) - set(by_name)):
        raise ValueError(f"asks_before names no tool: {', '.join(unknown)}")
    if most_rounds < 1 or history_bytes < 0:
        raise ValueError("most_rounds is at least 1, and history_bytes at least 0")

    async def chat(ctx: Context) -> AsyncIterator[AgentEvent]:
        conversation = Conversation(ctx.state, history_bytes)
        turn: list[Message] = [user(_asked(ctx))]
        before = [*([system(instructions)] if instructions else ()), *conversation.messages]
        finish_reason, rounds = "rounds", 0
        while rounds < most_rounds:
            rounds += 1
            # Its place is its key: a node with other instructions may go on with the turn.
            answer = stream(ctx, model, [*before, *turn], tools=list(by_name.values()), key=f"round {rounds}")
            async for text in answer:
                yield text
            turn.append(assistant(answer.reply))
            if not answer.reply.tool_calls:
                finish_reason = answer.reply.finish_reason
                break
            turn += await _results(ctx, by_name, asks_before, answer.reply.tool_calls, f"round {rounds}")
        conversation.add(turn)
        yield Result({"finish_reason": finish_reason, "rounds": rounds})

    # A node that is handed a module takes the agents that are defined there.
    chat.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    return chat


def _asked(ctx: Context) -> str:
    data = f"\n\n{json.dumps(ctx.input_data, ensure_ascii=False)}" if ctx.input_data else ""
    return f"{ctx.input_text}{data}"


async def _results(
    ctx: Context, tools: Mapping[str, Tool[..., Any]], asks: Collection[str], calls: Sequence[ToolCall], place: str
) -> list[Message]:
    # One after the other, and before any call: a question and an open step do not go together.
    refused = [call.name in asks and not await _may(ctx, call) for call in calls]
    try:
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(_result(ctx, tools, call, is_refused, f"{place} call {number}"))
                for number, (call, is_refused) in enumerate(zip(calls, refused, strict=True), 1)
            ]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # what ends the run
    return [tool_result(call, task.result()) for call, task in zip(calls, running, strict=True)]


async def _may(ctx: Context, call: ToolCall) -> bool:
    """Whether the user consents. Nobody there is no consent."""
    try:
        answer = await ctx.ask(f"May I call {shown_call(call.name, call.arguments_json)}? yes or no")
    except NobodyToAsk:
        return False
    return answer.text.strip().rstrip(".!").lower() in _YES


async def _result(ctx: Context, tools: Mapping[str, Tool[..., Any]], call: ToolCall, is_refused: bool, key: str) -> Any:
    """What the model is told: the tool's result, or why there is none."""
    if is_refused:
        return "The user did not allow this call."
    if (tool := tools.get(call.name)) is None:
        return f"There is no tool {call.name[:256]}. Tools: {', '.join(tools) or 'none'}."
    try:
        return await ctx.call_tool(tool, call.arguments_json or "{}", key=key)
    except AgentringError:
        raise  # the run is over
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return "The call failed: it was cancelled."  # what the tool waited for was, and nobody cancels the turn
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> str:
    try:
        text = f"The call failed: {type(error).__name__}: {error}"
    except Exception:  # an error of the tool's may say what it likes, or not be able to
        text = f"The call failed: {type(error).__name__}"
    return text[:_MOST_ERROR].encode("utf-8", "replace").decode()
