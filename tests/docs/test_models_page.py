"""docs/models.md: its agents run against an endpoint of the test's, and its names and numbers are the code's."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from agent_node.agents.openai.settings import OpenAISettings
from agentring.models.tries import RETRY
from harness.agent_context import FakeContext
from harness.fake_endpoint import FakeEndpoint
from harness.model_answers import calls, says
from harness.pages import ROOT, blocks

PAGE = ROOT / "docs" / "models.md"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    """The page's modules by their names."""
    found = {}
    for block in blocks(PAGE):
        if block.language == "python":
            assert block.file_name is not None
            file = tmp_path / block.file_name
            file.write_text(block.text)
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[file.stem] = found[file.stem] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
    yield found
    for name in found:
        del sys.modules[name]


async def test_every_agent_of_the_page_runs(page: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    stocks, ordered = calls(("stock", {"item": "tea"})), calls(("order", {"item": "tea", "count": 1}))
    endpoint = FakeEndpoint(says("Roses ", "are red."), stocks, says("4."), stocks, ordered, says("Done."))
    async with endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        heard = {}
        for name in ("poet", "clerk", "tea_shop"):
            ctx = FakeContext("tea?", answers=["no"])
            pieces = [event async for event in getattr(page[name], name)(ctx) if isinstance(event, str)]
            heard[name] = ("".join(pieces), ctx.asked)
        for name in heard:
            await page[name].MODEL.close()
    assert heard["poet"] == ("Roses are red.", [])
    assert heard["clerk"] == ("4.", [])
    assert heard["tea_shop"] == ("Done.", ['May I call order({"item": "tea", "count": 1})? yes or no'])
    assert [message["content"] for message in endpoint.requests[2]["messages"]] == ["tea?", None, "4"]
    assert endpoint.requests[5]["messages"][-1]["content"] == "The user did not allow this call."
    parrot = page["parrot"].Parrot()
    assert [each async for each in parrot.stream([{"content": "hi"}])][:2] == ["you said ", "hi"]
    assert set(page) == {*heard, "parrot"}


def test_the_settings_and_the_tries_are_the_code_s() -> None:
    text = PAGE.read_text()
    named = set(re.findall(r"`OPENAI_(\w+)`", text.partition("## The built-in agent")[2].partition("\n## ")[0]))
    assert named == {name.upper() for name in OpenAISettings.model_fields}
    settings = OpenAISettings.model_construct()
    assert f"{settings.most_rounds}, and {settings.history_bytes}" in text
    assert (RETRY.most_tries, RETRY.first_wait_s, RETRY.factor, RETRY.most_wait_s) == (6, 0.5, 2, 60)
    assert "six tries in all, half a second and then twice as long apart" in text
