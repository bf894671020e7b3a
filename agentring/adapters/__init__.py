"""Agents that are written for a framework, as agents of agentring: one module for each framework, imported by itself.

    from agentring.adapters.langgraph import langgraph_agent

    agent = langgraph_agent(graph)

docs/adapters.md is the guide. Here is what all of them share; nothing of a framework comes with it.
"""

from agentring.adapters.current import current_context, within
from agentring.adapters.once_tool import ring_tool

__all__ = ["current_context", "ring_tool", "within"]
