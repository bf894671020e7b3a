"""The built-in agent `openai`, by its settings alone."""

from collections.abc import Iterator

import pytest

from agent_node.agents.openai import agent
from agent_node.agents.openai.settings import load_tool
from harness.agent_context import FakeContext, run_agent
from harness.fake_endpoint import FakeEndpoint
from harness.model_answers import calls, says


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for made in (agent._agent, agent._model):
        made.cache_clear()
    yield
    for made in (agent._agent, agent._model):
        made.cache_clear()


CALCULATOR = "agent_node.agents.assistant.agent:calculator"


async def test_model_instructions_and_tools_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeEndpoint(calls(("calculator", {"expression": "1 + 2"})), says("It is ", "3.")) as endpoint:
        settings = {
            "BASE_URL": endpoint.base_url,
            "API_KEY": "sk-x",
            "MODEL": "small",
            "INSTRUCTIONS": "Sell tea.",
            "TOOLS": CALCULATOR,
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"OPENAI_{name}", value)
        said, result = await run_agent(agent.openai, FakeContext("tea?"))
        await agent._model().close()
    assert "".join(said) == "It is 3."
    assert result == {"finish_reason": "stop", "rounds": 2}
    first, second = endpoint.requests
    assert (first["model"], first["messages"][0]["content"]) == ("small", "Sell tea.")
    assert [tool["function"]["name"] for tool in first["tools"]] == ["calculator"]
    assert second["messages"][-1]["content"] == '{"value": 3}'


@pytest.mark.parametrize(
    ("where", "problem"),
    [("nothing", "not 'nothing'"), ("json:nothing", "json has no nothing"), (":x", "has package.module:attribute")],
)
def test_a_tool_that_is_none_is_named(where: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        load_tool(where)


def test_a_function_is_made_a_tool_and_one_that_blocks_is_refused() -> None:
    assert load_tool(CALCULATOR).name == "calculator"
    with pytest.raises(TypeError, match="is no async function"):
        load_tool("json:dumps")
