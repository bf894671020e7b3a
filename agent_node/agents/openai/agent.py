"""The agent `openai`: talks with a model, and calls the tools that it was given.

Guarantees: a node without settings for it hosts it all the same: its turns then fail with what is missing in the log.
"""

from collections.abc import AsyncIterator
from functools import cache

from agent_node.agents.openai.settings import OpenAISettings, listed, load_tool
from agentring.agent import Agent, AgentEvent, Context
from agentring.models import OpenAIModel, chat_agent


def openai(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Answers one turn."""
    return _agent()(ctx)


@cache
def _model() -> OpenAIModel:
    """One a process: it holds the connections."""
    return OpenAIModel(OpenAISettings().model)


@cache
def _agent() -> Agent:
    settings = OpenAISettings()
    return chat_agent(
        _model(),
        instructions=settings.instructions,
        tools=[load_tool(where) for where in listed(settings.tools)],
        asks_before=listed(settings.asks_before),
        most_rounds=settings.most_rounds,
        history_bytes=settings.history_bytes,
    )
