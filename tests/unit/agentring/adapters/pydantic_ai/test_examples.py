"""Every public name of the adapter has an example in its docstring, and each runs."""

import inspect
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

import agentring.adapters.pydantic_ai
from agentring.adapters.pydantic_ai import StateHistory, pydantic_ai_agent
from harness.agent_context import FakeContext
from harness.docstrings import compiled, example


async def look_up(item: str) -> str:
    """Looks an item up."""
    return item


async def order(item: str) -> str:
    """Orders an item."""
    return item


METHODS = ("messages", "add")
DOCUMENTED = [
    agentring.adapters.pydantic_ai,
    pydantic_ai_agent,
    StateHistory,
    *(getattr(StateHistory, name) for name in METHODS),
]


@pytest.mark.parametrize("found", DOCUMENTED, ids=lambda found: found.__name__)
async def test_the_example_runs(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # of a model that is named, and not called
    code = example(inspect.getdoc(found) or "")
    assert code, f"{found} has no example"
    clerk = Agent(TestModel())
    ctx = FakeContext("tea")
    names: dict[str, Any] = {
        "Agent": Agent,
        "StateHistory": StateHistory,
        "clerk": clerk,
        "ctx": ctx,
        "history": StateHistory(ctx),
        "look_up": look_up,
        "order": order,
        "pydantic_ai_agent": pydantic_ai_agent,
        "result": await clerk.run("tea"),
        "stock": look_up,
    }
    exec(compiled(code, found.__name__), names)
    await names["example"]()
