"""The text that an agent yields: bounded, and in pieces."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any, cast

import pytest

from agent_node.events.entries import READ_BYTES
from agent_node.run.yielded_text import YieldedText
from agentring.agent import Agent, AgentEvent, Context
from harness.bench import MAX_TEXT_BYTES, Bench, completed, failed
from harness.clock import PATIENCE_S
from harness.run_agents import raising, yielding


@pytest.mark.parametrize(("over", "character"), [(0, "x"), (1, "x"), (0, "é"), (2, "é")])
async def test_text_is_bounded_in_bytes_and_a_piece_that_goes_beyond_is_not_published(
    bench: Bench, over: int, character: str
) -> None:
    fits = character * ((MAX_TEXT_BYTES - 10) // len(character.encode()))
    outcome = await bench.run(yielding(fits, "x" * (10 + over)))
    if over:
        assert failed(outcome) == "OUTPUT_LIMIT"
        assert bench.text == fits
    else:
        assert completed(outcome).text_bytes == MAX_TEXT_BYTES
        assert bench.text == completed(outcome).text


async def test_much_text_at_once_is_published_in_pieces(bench: Bench) -> None:
    text = "日" * (MAX_TEXT_BYTES // 3)
    assert completed(await bench.run(yielding(text))).text == text
    events = bench.events()
    assert bench.text == text
    assert all(len(event.text_delta.text.encode()) <= READ_BYTES for event in events)
    offsets = [event.text_delta.offset for event in events]
    assert offsets == [sum(len(before.text_delta.text.encode()) for before in events[:i]) for i in range(len(events))]


async def test_what_is_yielded_before_an_event_comes_before_it_and_each_piece_has_its_number(bench: Bench) -> None:
    async def tool() -> None: ...

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "a"
        yield "bc"
        await ctx.tool("tool", tool)
        yield "d"

    await bench.run(agent)
    first, *_, last = bench.events()
    assert bench.kinds == ["text_delta", "tool_call", "tool_result", "text_delta"]
    assert (first.first_seq, first.seq, last.seq, last.text_delta.offset) == (1, 2, 5, 3)


async def test_text_can_be_read_before_anybody_elses_code_runs(bench: Bench) -> None:
    seen: list[str] = []

    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        asyncio.get_running_loop().call_soon(lambda: seen.append(bench.text))
        yield "a"
        yield "b"
        await asyncio.sleep(0)
        yield "c"

    await bench.run(agent)
    assert seen == ["ab"]


async def test_what_an_agent_says_before_it_fails_is_published(bench: Bench) -> None:
    await bench.run(raising(RuntimeError()))
    assert bench.text == "some words"


async def test_an_agent_whose_steps_are_awaitables_of_its_own_is_cancelled_like_any_other(bench: Bench) -> None:
    ends: list[str] = []

    class Step:
        def __await__(self) -> Generator[Any, None, str]:
            try:
                yield from asyncio.sleep(PATIENCE_S).__await__()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
            return "never"

    class Steps:
        def __aiter__(self) -> "Steps":
            return self

        def __anext__(self) -> Step:
            return Step()

    running = asyncio.ensure_future(bench.run(cast(Agent, lambda _ctx: Steps())))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), ends) == (True, ["cancelled"])


async def test_the_text_of_an_agent_that_never_awaits_can_be_read_while_it_runs(bench: Bench) -> None:
    read: list[int] = []

    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(100):
            asyncio.get_running_loop().call_soon(lambda: read.append(len(bench.text)))
            yield "x"

    await bench.run(agent)
    await asyncio.sleep(0)
    assert read == [*[32] * 32, *[64] * 32, *[96] * 32, *[100] * 4]


def test_where_the_log_is_elsewhere_each_piece_is_published_at_once() -> None:
    appended: list[tuple[int, str]] = []

    def append(offset: int, *texts: str) -> int:
        appended.extend((offset, text) for text in texts)
        return sum(map(len, texts))

    text = YieldedText(append, 100, together=False)
    for piece in ("a", "", "bc"):
        text.take(piece)
    assert appended == [(0, "a"), (1, "bc")]


async def test_half_a_character_that_was_published_before_counts_where_text_may_wait() -> None:
    text = "x" * READ_BYTES

    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield text + "\ud83d"  # so much is published at once, but for the half
        yield "é"
        await asyncio.sleep(0)
        yield "never published"

    bench = Bench(max_text_bytes=READ_BYTES + 4)
    assert failed(await bench.run(agent)) == "OUTPUT_LIMIT"
    assert bench.text == text
