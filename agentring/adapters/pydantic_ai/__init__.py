"""Agents of Pydantic AI as agents of agentring, by one line.

    from agentring.adapters.pydantic_ai import pydantic_ai_agent

    support = pydantic_ai_agent(Agent("openai:gpt-4.1-mini", tools=[look_up]))

Needs `agentring[pydantic-ai]`; docs/adapters.md is the guide.
"""

from agentring.adapters.pydantic_ai.agent import pydantic_ai_agent
from agentring.adapters.pydantic_ai.history import StateHistory

__all__ = ["StateHistory", "pydantic_ai_agent"]
