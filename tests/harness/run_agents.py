"""Agents that do one thing, and values that are no JSON."""

from collections.abc import AsyncIterator
from typing import Any, cast

from agentring.agent import Agent, AgentEvent, Context
from harness.agents import nested


def raising(error: BaseException) -> Agent:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "some words"
        raise error

    return agent


def yielding(*events: Any) -> Agent:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        for event in events:
            yield event

    return agent


def changing(key: Any, value: Any) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "words"
        ctx.state[key] = value

    return agent


def replacing(state: Any) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "words"
        cast(Any, ctx).state = state

    return agent


cyclic: dict[str, Any] = {}
cyclic["self"] = cyclic


NOT_JSON: dict[str, Any] = {
    "an object": object(),
    "bytes": b"x",
    "a set": {1},
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "a circle": cyclic,
    "very deep": nested(100_000),
    "half a character": "\ud800",
}


async def echoing(arguments: Any = None, answer: Any = None) -> Any:
    return answer
