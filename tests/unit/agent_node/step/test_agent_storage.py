"""`ctx.storage` as an agent meets it: in its steps, outside of them, and as it is now."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.run.outcome import Completed, Failed
from agent_node.step.storage_keys import MOST_VALUE_BYTES
from agentring.agent import Agent, AgentEvent, Context, Retry, StepFailed
from agentring.errors import StoreUnavailable
from harness.attempts import SCOPE, Ran, Run


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


@pytest.mark.parametrize(("dies_at", "landed"), [(1, {}), (1.5, {"a": b"1"})])
async def test_what_a_step_stores_lands_with_its_outcome_or_not_at_all(
    ran: Ran, dies_at: float, landed: dict[str, bytes]
) -> None:
    async def store(ctx: Context) -> str:
        ran.called("store")
        await ctx.storage.put("a", b"1")
        return "stored"

    run = Run(in_one_step(store))
    assert await run.attempt(dies_at) is None
    assert run.kept.stored() == landed
    assert len(run.kept.rows) == len(landed)
    assert await run.to_the_end() == "stored"
    assert run.kept.stored() == {"a": b"1"}
    assert run.kept.commits == ([1] if not landed else [])
    assert ran.calls["store"] == 2 - len(landed)


async def test_a_step_sees_its_own_writes_and_nobody_else_does_before_the_commit() -> None:
    seen: list[Any] = []

    async def inner(ctx: Context) -> Any:
        return [await ctx.storage.get("a") is None, [each.key for each in await ctx.storage.list()]]

    async def outer(ctx: Context) -> Any:
        await ctx.storage.put("a", b"1")
        await ctx.storage.put("b", b"")
        await ctx.storage.delete("b")
        seen.append((await ctx.storage.get("a"), await ctx.storage.get("b")))
        seen.append([(each.key, each.size_bytes) for each in await ctx.storage.list()])
        seen.append(await ctx.storage.latest.get("a"))
        return await ctx.step("inner", inner, ctx, key="inner")

    run = Run(in_one_step(outer))
    assert await run.to_the_end() == "[True, []]"
    assert seen == [(b"1", None), [("a", 1)], None]
    assert run.kept.stored() == {"a": b"1"}


@pytest.mark.parametrize("options", [{}, {"retry": Retry(most_tries=2, first_wait_s=0)}])
async def test_a_step_that_fails_stores_nothing_of_any_of_its_tries(options: dict[str, Any]) -> None:
    tries: list[Any] = []

    async def store(ctx: Context) -> None:
        tries.append(await ctx.storage.get("a"))
        await ctx.storage.put("a", b"1")
        raise ValueError

    run = Run(in_one_step(store, **options))
    assert (await run.to_the_end()).startswith("ValueError")
    assert tries == [None] * (2 if options else 1)
    assert run.kept.stored() == {}


async def test_what_a_cancelled_step_wanted_to_store_is_not() -> None:
    async def store(ctx: Context) -> None:
        await ctx.storage.put("a", b"1")
        await asyncio.get_running_loop().create_future()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.01):
                await ctx.step("s", store, ctx, key="s")
        except TimeoutError:
            await ctx.storage.put("a", b"2")  # the key is free again
            yield "cancelled"

    run = Run(agent)
    assert await run.to_the_end() == "cancelled"
    assert run.kept.stored() == {"a": b"2"}


async def test_outside_of_steps_each_call_is_a_step_of_its_own(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.storage.put("a/1", b"first")
        await ctx.storage.put("a/2", b"\xff")
        before = await ctx.storage.get("a/2")
        await ctx.storage.delete("a/2")
        listed = [(each.key, each.size_bytes) for each in await ctx.storage.list("a/")]
        yield f"{before!r} {await ctx.storage.get('a/2')!r} {listed}"
        await ctx.step("last", ran.effect, "last")

    run = Run(agent)
    assert await run.attempt(7) is None  # the last step did not land
    assert run.kept.stored() == {"a/1": b"first"}
    run.kept.storage._values[SCOPE] = {b"a/1": b"changed", b"b": b""}
    assert await run.to_the_end() == "b'\\xff' None [('a/1', 5)]"
    assert [row.name for row in run.kept.rows[:3]] == ["storage.put", "storage.put", "storage.get"]
    assert run.kept.stored() == {"a/1": b"changed", "b": b""}  # what was recorded is not written again


async def test_the_latest_is_not_recorded_and_stays_though_its_step_fails() -> None:
    async def store(ctx: Context) -> None:
        await ctx.storage.latest.put("in step", b"1")
        raise ValueError

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        latest = ctx.storage.latest
        await latest.change({"a": b"1", "b": b"2", "none": None})
        await latest.delete("b")
        await asyncio.gather(*(latest.put("c", bytes([number])) for number in range(5)))
        with pytest.raises(StepFailed):
            await ctx.step("s", store, ctx, key="s")
        yield str([each.key for each in await latest.list(at_most=2, after="a")])
        yield str(await latest.get("a")) + str(await latest.get("b"))

    run = Run(agent)
    assert await run.to_the_end() == "['c', 'in step']b'1'None"
    assert run.kept.stored() == {"a": b"1", "c": b"\x04", "in step": b"1"}
    assert run.kept.names() == ["storage NOTED", "s FAILED"]  # the first says that the attempt was not in vain


async def test_keys_and_values_that_are_none_are_refused_before_anything_is_done() -> None:
    bad: list[tuple[type[Exception], tuple[Any, ...]]] = [
        (TypeError, (b"a", b"")),
        (TypeError, ("a", "text")),
        (TypeError, ("a", None)),
        (ValueError, ("", b"")),
        (ValueError, ("a" * 513, b"")),
        (ValueError, ("\ud800", b"")),
        (ValueError, ("a", bytes(MOST_VALUE_BYTES + 1))),
    ]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for error, (key, value) in bad:
            for storage in (ctx.storage, ctx.storage.latest):
                with pytest.raises(error):
                    await storage.put(key, value)
        with pytest.raises(TypeError):
            await ctx.storage.latest.change({"a": 7})  # type: ignore[dict-item]
        for at_most in (0, 1_001):
            with pytest.raises(ValueError, match="at_most"):
                await ctx.storage.latest.list(at_most=at_most)
        await ctx.storage.latest.put("a", bytearray(b"mutable"))  # type: ignore[arg-type]
        yield "done"

    run = Run(agent)
    assert await run.to_the_end() == "done"
    assert run.kept.stored() == {"a": b"mutable"}


async def test_what_a_step_leaves_behind_stores_nothing(ran: Ran) -> None:
    left: list[asyncio.Task[Any]] = []
    go = asyncio.Event()

    async def late(ctx: Context) -> None:
        await go.wait()
        await ctx.storage.put("a", b"late")

    async def leaves(ctx: Context) -> None:
        left.append(asyncio.ensure_future(late(ctx)))

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.step("leaves", leaves, ctx, key="leaves")
        go.set()
        await asyncio.wait(left)
        yield str(left[0].exception())

    run = Run(agent)
    assert await run.to_the_end() == "the step has ended, and stores nothing any more"
    assert run.kept.stored() == {}


async def test_a_value_that_was_changed_in_the_store_fails_the_run() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.storage.latest.put("a", b"1")
        yield str(await ctx.storage.latest.get("a"))

    run = Run(agent)
    run.kept.changes_values = True
    outcome = await run.attempt()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STEP_CORRUPT"


async def test_a_commit_that_fails_ends_the_attempt_and_stores_nothing() -> None:
    seen: list[str] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for name in "ab":
            try:
                await ctx.storage.latest.put(name, b"1")
            except StoreUnavailable:
                seen.append(name)
        yield "end"

    run = Run(agent)
    with pytest.raises(StoreUnavailable):
        await run.attempt(1, error=StoreUnavailable())
    assert seen == ["a", "b"]
    assert run.kept.stored() == {}


async def test_steps_and_changes_that_come_together_share_a_commit_in_their_order() -> None:
    async def store(ctx: Context, name: str) -> None:
        await ctx.storage.put(name, name.encode())

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.storage.latest.list()
        await asyncio.gather(*(ctx.step("s", store, ctx, name, key=name) for name in "abc"))
        yield "done"

    run = Run(agent)
    outcome = await run.attempt()
    assert isinstance(outcome, Completed)
    assert run.kept.commits == [3]
    assert run.kept.stored() == {"a": b"a", "b": b"b", "c": b"c"}
