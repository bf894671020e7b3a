"""Steps that write one key at the same time, and the bounds of what is stored."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentring.agent import Agent, AgentEvent, Context, StepFailed, StorageConflict, StorageFull
from harness.attempts import Ran, Run


@pytest.fixture
def ran() -> Ran:
    return Ran()


def in_one_step(function: Any, **options: Any) -> Agent:
    """Runs a step that is handed the context."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield str(await ctx.step("s", function, ctx, key="s", **options))
        except StepFailed as failed:
            yield f"{failed.type_name} {failed.text}"

    return agent


async def test_of_two_open_steps_that_write_one_key_the_second_waits_and_is_called_again(ran: Ran) -> None:
    go = asyncio.Event()

    async def store(ctx: Context, name: str) -> None:
        ran.called(name)
        await ctx.storage.put(f"of {name}", b"")
        await ctx.storage.put("shared", (await ctx.storage.get("shared") or b"") + name.encode())
        if name == "a":
            await go.wait()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        first = asyncio.ensure_future(ctx.step("a", store, ctx, "a", key="a"))
        await ran.until_called("a")
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(ctx.step("b", store, ctx, "b", key="b"))
        await ran.until_called("b")
        go.set()
        await asyncio.gather(first, second)
        yield "done"

    run = Run(agent, step_wait_s=30.0)
    assert await run.to_the_end() == "done"
    assert ran.calls == {"a": 1, "b": 2}
    assert run.kept.stored() == {"shared": b"ab", "of a": b"", "of b": b""}


async def test_one_that_must_not_run_twice_or_waits_for_its_outer_step_gets_the_conflict(ran: Ran) -> None:
    async def inner(ctx: Context) -> None:
        ran.called("inner")
        await ctx.storage.put("a", b"inner")

    async def outer(ctx: Context) -> list[str]:
        await ctx.storage.put("a", b"outer")
        found = []
        for idempotent in (True, False):
            try:
                await ctx.step("inner", inner, ctx, key="inner", idempotent=idempotent)
            except StepFailed as failed:
                found.append(failed.type_name)
        with pytest.raises(StorageConflict):
            await ctx.storage.latest.put("a", b"latest")
        return found

    run = Run(in_one_step(outer), step_wait_s=30.0)
    assert await run.to_the_end() == "['StorageConflict', 'StorageConflict']"
    assert ran.calls == {"inner": 2}
    assert run.kept.stored() == {"a": b"outer"}


async def test_a_key_that_is_held_too_long_is_a_conflict(ran: Ran) -> None:
    go = asyncio.Event()

    async def holds(ctx: Context) -> None:
        await ctx.storage.put("a", b"1")
        ran.called("holds")
        await go.wait()

    async def wants(ctx: Context) -> None:
        await ctx.storage.put("a", b"2")

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        holding = asyncio.ensure_future(ctx.step("holds", holds, ctx, key="holds"))
        await ran.until_called("holds")
        with pytest.raises(StepFailed, match="another step writes a at the same time"):
            await ctx.step("wants", wants, ctx, key="wants")
        go.set()
        await holding
        yield "done"

    assert await Run(agent).to_the_end() == "done"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"k": bytes(70)}, "71 bytes in all, more than 64"),
        ({"a": bytes(40), "b": bytes(40)}, "82 bytes in all, more than 64"),
        ({"a" * 65: b""}, "65 bytes in all, more than 64"),
    ],
)
async def test_what_is_beyond_the_bytes_is_refused_and_nothing_of_it_is_stored(
    values: dict[str, bytes], why: str
) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for change in (ctx.storage.latest.change, None):
            try:
                if change is not None:
                    await change(values)
                else:
                    for key, value in values.items():
                        await ctx.storage.put(key, value)
            except StorageFull as full:
                yield full.text + "; "

    run = Run(agent, max_storage_bytes=64)
    assert await run.to_the_end() == f"{why}; {why}; "
    assert len(run.kept.stored()) < len(values)


async def test_room_is_made_by_what_is_removed_and_counted_across_open_steps(ran: Ran) -> None:
    go = asyncio.Event()

    async def holds(ctx: Context) -> None:
        await ctx.storage.delete("old")
        await ctx.storage.put("new", bytes(10))
        ran.called("holds")
        await go.wait()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        latest = ctx.storage.latest
        await latest.put("old", bytes(40))
        await latest.put("old", bytes(57))  # over what was there
        holding = asyncio.ensure_future(ctx.step("holds", holds, ctx, key="holds"))
        await ran.until_called("holds")
        with pytest.raises(StorageFull):  # the room is not there before the step has committed
            await latest.put("more", bytes(10))
        go.set()
        await holding
        await latest.put("more", bytes(40))
        yield "done"

    run = Run(agent, max_storage_bytes=64)
    assert await run.to_the_end() == "done"
    assert {key: len(value) for key, value in run.kept.stored().items()} == {"new": 10, "more": 40}


async def test_no_update_is_lost_where_the_first_step_is_committed_before_the_second_writes(ran: Ran) -> None:
    go = asyncio.Event()

    async def adds(ctx: Context, name: str) -> None:
        before = await ctx.storage.get("a") or b""
        ran.called(name)
        if name == "second":
            await go.wait()
        await ctx.storage.put("a", before + name.encode())

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        second = asyncio.ensure_future(ctx.step("second", adds, ctx, "second", key="second"))
        await ran.until_called("second")
        await ctx.step("first", adds, ctx, "first", key="first")
        go.set()
        await second
        yield "done"

    run = Run(agent, step_wait_s=30.0)
    assert await run.to_the_end() == "done"
    assert ran.calls == {"first": 1, "second": 2}
    assert run.kept.stored() == {"a": b"firstsecond"}


async def test_what_an_inner_step_has_committed_its_outer_one_may_write_over() -> None:
    async def inner(ctx: Context) -> None:
        await ctx.storage.put("a", b"inner")

    async def outer(ctx: Context) -> str:
        await ctx.step("inner", inner, ctx, key="inner")
        await ctx.storage.put("a", (await ctx.storage.get("a") or b"") + b" outer")
        return "done"

    run = Run(in_one_step(outer))
    assert await run.to_the_end() == "done"
    assert run.kept.stored() == {"a": b"inner outer"}


async def test_a_step_that_conflicts_with_itself_fails_after_so_many_tries(ran: Ran) -> None:
    async def store(ctx: Context) -> None:
        ran.called("store")
        await ctx.storage.latest.put("a", b"1")
        await ctx.storage.put("a", b"2")

    run = Run(in_one_step(store))
    assert await run.to_the_end() == "StorageConflict another step writes a at the same time"
    assert ran.calls["store"] == 17
