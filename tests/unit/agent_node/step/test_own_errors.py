"""What a tool raised comes again as itself in a later attempt."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agent_node.step.own_errors import again, recorded
from agent_node.store.step_records import INLINE_BYTES
from agentring.agent import AgentEvent, Context
from harness.attempts import Ran, Run
from harness.shown_tools import shown


@pytest.fixture
def ran() -> Ran:
    return Ran()


class OwnError(Exception):
    def __init__(self, code: int, *, hint: str = "") -> None:
        super().__init__(f"code {code}")
        self.hint = hint


class Keyed(Exception):
    def __init__(self, *, hint: str) -> None:
        super().__init__(hint)


class Hostile(Exception):
    def __init__(self, *args: object) -> None:
        if args != ("once",):
            raise SystemExit(3)
        super().__init__(*args)

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyError("Atlantis"),
        lambda: OSError(2, "not there", "a file"),
        lambda: TimeoutError(),
        lambda: ValueError(),
        lambda: OwnError(7, hint="x"),
        lambda: Keyed(hint="so"),
        lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        lambda: type("Local", (LookupError,), {})("of no module"),
        lambda: ValueError(object()),
        lambda: ValueError("x" * 100_000),
    ],
)
async def test_an_error_comes_again_as_itself(make: Callable[[], Exception], ran: Ran) -> None:
    found: list[BaseException] = []

    async def broken() -> None:
        ran.called("broken")
        raise make()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.tool("broken", broken)
        except Exception as error:
            found.append(error)
        await ctx.tool("next", ran.effect, name="next")
        yield ""

    run = Run(agent)
    blobs = len(str(make())) > INLINE_BYTES
    assert await run.attempt(2 + blobs) is None
    first = shown(run)
    await run.to_the_end()
    before, after = found
    assert ran.calls["broken"] == 1
    assert str(after) == str(before)[: 64 << 10]
    if "Local" not in type(before).__name__:
        assert isinstance(after, type(before))
    assert type(after).__name__ == type(before).__name__
    assert shown(run)[:2] == first[:2]
    error_ids = [event.tool_result.error_id for event in run.bench.events() if event.HasField("tool_result")]
    assert len(error_ids[0]) == 16


@pytest.mark.parametrize("made", [Hostile("once"), KeyError(Hostile), asyncio.CancelledError()])
def test_no_error_of_an_agents_fails_what_records_it(made: BaseException) -> None:
    found = again(recorded(made))
    assert isinstance(found, Exception | asyncio.CancelledError)


def test_only_classes_of_errors_are_looked_up() -> None:
    for name, module, args in (("system", "os", ["true"]), ("SystemExit", "builtins", []), ("", "", None)):
        found = again(["X", "said", name, module, args])
        assert isinstance(found, Exception)
        assert str(found) == "said"


async def test_a_result_that_is_no_json_fails_alike_in_a_later_attempt(ran: Ran) -> None:
    async def odd() -> Any:
        ran.called("odd")
        return {"a": {1, 2}}

    async def caught(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.tool("odd", odd)
        finally:
            await ctx.step("clean up", ran.effect, "clean up")
        yield ""

    run = Run(caught)
    assert await run.attempt(2) is None
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.detail) == ("RESULT_INVALID", "result of the tool odd $.a: set")
    assert ran.calls["odd"] == 1
