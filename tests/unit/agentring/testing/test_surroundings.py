"""An agent in a test has its settings, and what its lifespan opens or what the test has instead."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog

from agentring.agent import AgentEvent, Context, agent
from agentring.testing import AgentTest, TurnNotAsExpected

said: list[str] = []


@dataclass
class Settings:
    shelf: str = "novels"


@asynccontextmanager
async def lifespan(settings: Settings) -> AsyncIterator[dict[str, str]]:
    if settings.shelf == "locked":
        raise PermissionError("no key")
    said.append(f"opened {settings.shelf}")
    yield {"Emma": settings.shelf}
    said.append("closed")


@agent(settings=Settings, lifespan=lifespan)
async def library(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{ctx.resources[ctx.input_text]} {ctx.settings.shelf}"


@pytest.fixture(autouse=True)
def _nothing_said() -> None:
    said.clear()


async def test_the_lifespan_is_opened_once_and_closed_at_the_end() -> None:
    async with AgentTest(library) as t:
        assert (await t.turn("Emma")).text == "novels novels"
        t.crash(at_end=True)
        assert (await t.turn("Emma")).text == "novels novels"
        await t.crash_everywhere("Emma")
        assert said == ["opened novels"]
    assert said == ["opened novels", "closed"]


async def test_a_test_may_have_other_settings_and_resources_of_its_own() -> None:
    async with AgentTest(library, settings=Settings("poems")) as t:
        assert (await t.turn("Emma")).text == "poems poems"
    said.clear()
    async with AgentTest(library, resources={"Emma": "a fake"}) as t:
        assert (await t.turn("Emma")).text == "a fake novels"
    assert said == []


async def test_what_the_lifespan_raises_is_the_tests() -> None:
    with pytest.raises(PermissionError, match="no key"):
        async with AgentTest(library, settings=Settings("locked")):
            pass
    async with AgentTest(library) as t:
        with pytest.raises(TurnNotAsExpected):
            await t.turn("Persuasion")


async def test_the_log_of_a_test_has_no_values_of_variables(capsys: pytest.CaptureFixture[str]) -> None:
    async def pay() -> None:
        key = "sk-" + "secret"
        raise ValueError(len(key))

    async def paying(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.tool("pay", pay)
        yield ""

    before = structlog.get_config()
    structlog.reset_defaults()
    try:
        async with AgentTest(paying) as t:
            await t.turn(fails="AGENT_ERROR")
        logged = "".join(capsys.readouterr())
    finally:
        structlog.configure(**before)
    assert "ValueError: 9" in logged
    assert "raise ValueError(len(key))" in logged
    assert "sk-secret" not in logged
