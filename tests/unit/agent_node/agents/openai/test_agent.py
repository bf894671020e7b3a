"""The built-in agent `openai`, by its settings alone."""

from typing import Any

import pytest

from agent_node.agents.agent_settings import SettingsFile, SettingsWrong, read_settings
from agent_node.agents.openai.agent import lifespan, openai
from agent_node.agents.openai.settings import OpenAISettings, load_tool
from harness.agent_context import FakeContext, run_agent
from harness.fake_endpoint import FakeEndpoint
from harness.model_answers import calls, says

CALCULATOR = "agent_node.agents.assistant.agent:calculator"


def settings_of(**variables: str) -> Any:
    """As a node reads them."""
    environ = {f"OPENAI_{name}": value for name, value in variables.items()}
    return read_settings("openai", OpenAISettings, environ, SettingsFile())


async def test_model_instructions_and_tools_come_from_the_environment() -> None:
    async with FakeEndpoint(calls(("calculator", {"expression": "1 + 2"})), says("It is ", "3.")) as endpoint:
        settings = settings_of(
            BASE_URL=endpoint.base_url,
            API_KEY="sk-x",
            MODEL="small",
            INSTRUCTIONS="Sell tea.",
            TOOLS=CALCULATOR,
            ASKS_BEFORE="calculator",
        )
        ctx = FakeContext("tea?", answers=["yes"])
        async with lifespan(settings) as made:
            ctx.resources = made
            said, result = await run_agent(openai, ctx)
    assert "".join(said) == "It is 3."
    assert result == {"finish_reason": "stop", "rounds": 2}
    assert len(ctx.asked) == 1
    first, second = endpoint.requests
    assert (first["model"], first["messages"][0]["content"]) == ("small", "Sell tea.")
    assert [tool["function"]["name"] for tool in first["tools"]] == ["calculator"]
    assert second["messages"][-1]["content"] == '{"value": 3}'
    assert endpoint.exchanges[0].headers["authorization"] == "Bearer sk-x"
    assert "sk-x" not in repr(settings)


async def test_a_node_without_settings_hosts_it() -> None:
    async with lifespan(settings_of()) as made:
        assert callable(made)


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("nothing", "is package.module:attribute, not 'nothing'"),
        (":x", "is package.module:attribute"),
        ("json:nothing", "the tool json:nothing: AttributeError"),
        ("no_such_module:x", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json:dumps", "TypeError: the tool dumps is no async function"),
    ],
)
def test_a_tool_that_is_none_is_named_and_leaves_the_agent_out(where: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        load_tool(where)
    with pytest.raises(SettingsWrong, match="OPENAI_TOOLS"):
        settings_of(TOOLS=where)


@pytest.mark.parametrize(("name", "value"), [("MODEL", ""), ("MOST_ROUNDS", "0"), ("HISTORY_BYTES", "many")])
def test_what_cannot_be_is_refused_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsWrong, match=f"OPENAI_{name}"):
        settings_of(**{name: value})


def test_a_function_will_do() -> None:
    assert load_tool(CALCULATOR).name == "calculator"
