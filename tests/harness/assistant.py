"""Turns of the agent `assistant` without a node."""

from agent_node.agents.assistant.agent import assistant
from agentring.agent import JsonObject
from harness.agent_context import FakeContext, run_agent


async def say(text: str, state: JsonObject | None = None) -> tuple[str, JsonObject]:
    """One turn on a session with this state, which it changes: the reply's text and its result."""
    pieces, result = await run_agent(assistant, FakeContext(text, state={} if state is None else state))
    return "".join(pieces), result
