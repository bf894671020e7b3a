"""Graphs of LangGraph as agents, by one line. Needs `agentring[langgraph]`; docs/adapters.md is the guide."""

from agentring.adapters.langgraph.agent import langgraph_agent
from agentring.adapters.langgraph.saver import AgentringSaver

__all__ = ["AgentringSaver", "langgraph_agent"]
