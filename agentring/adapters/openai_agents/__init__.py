"""Agents of the OpenAI Agents SDK as agents of agentring, by one line.

    from agentring.adapters.openai_agents import openai_agents_agent

    support = openai_agents_agent(Agent(name="support", model="gpt-4.1-mini", tools=[look_up]))

Needs `agentring[openai-agents]`; docs/adapters.md is the guide.
"""

from agentring.adapters.openai_agents.agent import openai_agents_agent
from agentring.adapters.openai_agents.history import StateSession

__all__ = ["StateSession", "openai_agents_agent"]
