"""What a tested agent finds in its process: its settings, and what its lifespan opens, or what the test has instead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from agent_node.agents.lifespans import OpenedAgent
from agentring.agent import Agent
from agentring.agent.declaration import options_of


def log_plainly() -> None:
    """What nobody has configured logs as nodes do: tracebacks without the values of the code's variables, among which
    are keys and what users say."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            ]
        )


@asynccontextmanager
async def surroundings(agent: Agent, settings: Any, resources: Any) -> AsyncIterator[OpenedAgent]:
    """settings: None: made of the class's defaults, where the agent declares one; resources: None: the agent's lifespan
    opens them. Raises what the class and the lifespan raise."""
    options = options_of(agent)
    if settings is None and options.settings is not None:
        settings = options.settings()
    if resources is not None or options.lifespan is None:
        yield OpenedAgent(settings, resources)
        return
    async with options.lifespan(settings) as made:
        yield OpenedAgent(settings, made)
