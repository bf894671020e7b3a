"""docs/adapters.md: its agents run, with a model of the test's."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from agents import set_tracing_disabled
from agents.testing import function_call

from agent_node.agents.loading import load_module
from agentring.adapters.openai_agents import openai_agents_agent
from agentring.testing import AgentTest
from harness import pydantic_ai_model
from harness.pages import ROOT, blocks
from harness.pydantic_ai_model import ShopModel
from harness.sdk_model import SdkModel, results

PAGE = ROOT / "docs" / "adapters.md"


def module(name: str, directory: Path) -> ModuleType:
    """One of the page's modules."""
    (block,) = [block for block in blocks(PAGE) if block.file_name == f"{name}.py"]
    file = directory / f"{name}.py"
    file.write_text(block.text)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


async def test_the_agent_of_the_openai_agents_sdk_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_tracing_disabled(True)
    page = module("support", tmp_path)
    call = function_call("order", {"item": "tea", "count": 2}, call_id="1")
    model = SdkModel(lambda instructions, heard: results(heard)[-1:] or [call])
    async with AgentTest(openai_agents_agent(page.clerk.clone(model=model))) as t:
        t.answers({"approve": True}, {"approve": False, "reason": "too much"})
        assert (await t.turn("two tea")).text == "2 tea ordered"
        assert "too much" in (await t.turn("two tea")).text
    assert callable(page.support)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(load_module("support")) == ["support"], "as `agentring dev support.py` does"


async def test_the_graph_of_langgraph_says_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = module("greeter", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(load_module("greeter")) == ["greeter"], "as `agentring dev greeter.py` does"
    listed = list(blocks(PAGE))
    (after,) = [number + 1 for number, block in enumerate(listed) if block.file_name == "greeter.py"]
    lines = listed[after].text.splitlines()
    typed = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    async with AgentTest(page.greeter) as t:
        t.answers(*typed[1:])
        turn = await t.turn(typed[0])
        assert [*turn.questions, turn.text] == [line for line in lines if not line.startswith("> ")]


async def test_the_agent_of_pydantic_ai_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    page = module("tea_shop", tmp_path)
    order = pydantic_ai_model.call("order", "1", item="tea", count=2)
    with page.clerk.override(model=ShopModel(lambda heard: pydantic_ai_model.results(heard)[-1:] or [order])):
        async with AgentTest(page.tea_shop) as t:
            t.answers({"approve": True}, {"approve": False, "reason": "too much"})
            assert (await t.turn("two tea")).text == "2 tea ordered"
            assert "too much" in (await t.turn("two tea")).text
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(load_module("tea_shop")) == ["tea_shop"], "as `agentring dev tea_shop.py` does"
