"""Every public name of agentring.models has an example in its docstring, and each runs."""

import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

import agentring.models
from agentring.agent import tool
from agentring.models import Message, ModelFailed, ModelTool, Reply, ToolCall, user
from harness.agent_context import FakeContext
from harness.docstrings import compiled, example


class Agreeable:
    """A model that always says yes."""

    name = "agreeable"

    async def stream(self, messages: Sequence[Message], tools: Sequence[ModelTool] = ()) -> AsyncIterator[str | Reply]:
        """As Model."""
        yield Reply("yes")


@tool
async def order(item: str) -> str:
    """Orders."""
    return item


def documented() -> Iterator[tuple[str, Any]]:
    """The public names; `Message` is another name of a dict."""
    for name in agentring.models.__all__:
        if name != "Message":
            yield name, getattr(agentring.models, name)


@pytest.mark.parametrize(("name", "found"), [pytest.param(*each, id=each[0]) for each in documented()])
async def test_the_example_runs(name: str, found: Any) -> None:
    code = example(inspect.getdoc(found) or "")
    assert code, f"{name} has no example"
    names: dict[str, Any] = {
        **vars(agentring.models),
        "ctx": FakeContext("tea"),
        "model": Agreeable(),
        "messages": [user("tea?")],
        "reply": Reply("yes"),
        "call": ToolCall("1", "order", '{"item": "tea"}'),
        "tools": [order],
        "order": order,
        "look_up": tool(name="look_up")(order.function),
    }
    exec(compiled(code, name), names)
    with pytest.raises(ModelFailed) if name == "ModelFailed" else nullcontext():
        running = names["example"]()
        if inspect.isasyncgen(running):
            assert [piece async for piece in running] == ["yes"]
        else:
            await running
