"""What steps that come in pieces store by key."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentring.agent import AgentEvent, Context, Retry, StepFailed
from harness.attempts import Run


@pytest.mark.parametrize(("dies_at", "landed"), [(1, {}), (1.5, {"a": b"1"})])
async def test_what_a_streamed_step_stores_lands_with_its_end(dies_at: float, landed: dict[str, bytes]) -> None:
    seen: list[Any] = []

    async def pieces(ctx: Context) -> AsyncIterator[str]:
        yield "first "
        await ctx.storage.put("a", b"1")
        seen.append((await ctx.storage.get("a"), await ctx.storage.latest.get("a")))
        yield "last"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async for piece in ctx.stream_step("s", pieces, ctx, key="s"):
            yield piece

    run = Run(agent)
    assert await run.attempt(dies_at) is None
    assert run.kept.stored() == landed
    assert await run.to_the_end() == "first last"
    assert seen == [(b"1", None)] * (2 - len(landed))
    assert run.kept.stored() == {"a": b"1"}


async def test_one_that_fails_or_is_left_stores_nothing_and_its_keys_are_free() -> None:
    async def pieces(ctx: Context, name: str) -> AsyncIterator[str]:
        await ctx.storage.put("a", name.encode())
        if name == "fails":
            raise ValueError
        yield "first"
        yield "last"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with pytest.raises(StepFailed):
            async for _ in ctx.stream_step("s", pieces, ctx, "fails", key="1", retry=Retry(2, first_wait_s=0)):
                pass
        async with ctx.stream_step("s", pieces, ctx, "left", key="2") as stream:
            await anext(stream)
        await ctx.storage.put("a", b"after")
        yield "done"

    run = Run(agent)
    assert await run.to_the_end() == "done"
    assert run.kept.stored() == {"a": b"after"}
