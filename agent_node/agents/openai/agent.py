"""The agent `openai`: talks with a model, and calls the tools that it was given.

Guarantees: a node without settings for it hosts it all the same: its turns then fail, with what is missing in the log.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from agent_node.agents.openai.settings import OpenAISettings, load_tool
from agentring.agent import Agent, AgentEvent, Context, agent
from agentring.models import OpenAIModel, chat_agent


@asynccontextmanager
async def lifespan(settings: OpenAISettings) -> AsyncIterator[Agent]:
    """One model for all turns, which holds the connections."""
    model = OpenAIModel(settings.model, base_url=settings.base_url, api_key=settings.api_key.get_secret_value())
    try:
        yield chat_agent(
            model,
            instructions=settings.instructions,
            tools=[load_tool(where) for where in settings.tools],
            asks_before=settings.asks_before,
            most_rounds=settings.most_rounds,
            history_bytes=settings.history_bytes,
        )
    finally:
        await model.close()


@agent(settings=OpenAISettings, lifespan=lifespan)
async def openai(ctx: Context[Any]) -> AsyncIterator[AgentEvent]:
    """Answers one turn."""
    async with aclosing(ctx.resources(ctx)) as events:
        async for event in events:
            yield event
