"""Every public name of the adapter has an example in its docstring, and each runs."""

import inspect
from typing import Any

import pytest
from agents import Agent, Runner, function_tool

import agentring.adapters.openai_agents
from agentring.adapters.consent import ask_consent
from agentring.adapters.openai_agents import StateSession, openai_agents_agent
from harness.agent_context import FakeContext
from harness.docstrings import compiled, example
from harness.sdk_model import SdkModel


@function_tool
async def look_up(item: str) -> str:
    """Looks an item up."""
    return item


METHODS = ("get_items", "add_items", "pop_item", "clear_session")
DOCUMENTED = [
    agentring.adapters.openai_agents,
    openai_agents_agent,
    StateSession,
    ask_consent,
    *(getattr(StateSession, name) for name in METHODS),
]


@pytest.mark.parametrize("found", DOCUMENTED, ids=lambda found: found.__name__)
async def test_the_example_runs(found: Any) -> None:
    code = example(inspect.getdoc(found) or "")
    assert code, f"{found} has no example"
    names: dict[str, Any] = {
        "Agent": Agent,
        "Runner": Runner,
        "StateSession": StateSession,
        "ask_consent": ask_consent,
        "openai_agents_agent": openai_agents_agent,
        "clerk": Agent(name="clerk", model=SdkModel(lambda instructions, heard: ["hello"])),
        "ctx": FakeContext("tea", answers=["yes"]),
        "look_up": look_up,
        "stock": look_up,
        "order": look_up,
    }
    exec(compiled(code, found.__name__), names)
    await names["example"]()
