"""One run of an agent: its outcome, and that whatever its agent does fails no more than the run."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
import structlog

from agent_node.run.outcome import Failed
from agentring.agent import Agent, AgentEvent, Context, Result
from agentring.errors import NodeFenced
from harness.bench import Bench, completed, failed
from harness.premises import TTL_S
from harness.run_agents import echoing, raising, yielding


async def test_words_state_and_the_last_result_are_the_outcome(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "Grüße, "
        yield ""
        yield Result({"n": 1})
        ctx.state["kept"] = {"deep": [1, None, True, 1.5, "é"]}
        yield "日本 🎉"
        yield Result({"n": 2})

    outcome = completed(await bench.run(agent))
    assert (outcome.text, outcome.text_bytes) == ("Grüße, 日本 🎉", len("Grüße, 日本 🎉".encode()))
    assert outcome.state_json == '{"kept": {"deep": [1, null, true, 1.5, "é"]}}'
    ended = outcome.to_event()
    assert (dict(ended.result), ended.text_bytes) == ({"n": 2}, outcome.text_bytes)
    assert bench.kinds == ["text_delta", "state_changed"]  # the end is published by the caller, which stores it
    assert bench.text == outcome.text
    assert list(bench.events()[-1].state_changed.keys) == ["kept"]


async def test_an_agent_may_end_without_a_word(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.input_text == "never":
            yield ""

    outcome = completed(await bench.run(agent))
    assert (outcome.text, outcome.text_bytes, outcome.state_json, outcome.result) == ("", 0, "{}", None)
    assert not outcome.to_event().HasField("result")
    assert bench.kinds == []


async def test_an_agent_may_be_any_async_iterator(bench: Bench) -> None:
    class Counting:
        def __init__(self, _ctx: Context) -> None:
            self.left = 3

        def __aiter__(self) -> "Counting":
            return self

        async def __anext__(self) -> AgentEvent:
            if self.left == 0:
                raise StopAsyncIteration
            self.left -= 1
            return str(self.left)

    assert completed(await bench.run(Counting)).text == "210"


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


def at_once(_ctx: Context) -> AsyncIterator[AgentEvent]:
    raise ValueError("not for clients")


async def never_yielding(_ctx: Context) -> None:
    return


def synchronous(_ctx: Context) -> Iterator[AgentEvent]:
    yield "words"


def nothing(_ctx: Context) -> None:
    return


async def exiting(_ctx: Context) -> AsyncIterator[AgentEvent]:
    yield ""
    sys.exit(3)


FAULTY: dict[str, Any] = {
    "raises": raising(ValueError("not for clients")),
    "raises what is no Exception": raising(Unusual()),
    "raises GeneratorExit": raising(GeneratorExit()),
    "raises KeyboardInterrupt": raising(KeyboardInterrupt()),
    "raises StopAsyncIteration": raising(StopAsyncIteration()),
    "raises CancelledError": raising(asyncio.CancelledError()),
    "raises TimeoutError": raising(TimeoutError()),
    "raises NodeFenced": raising(NodeFenced()),
    "raises when called": at_once,
    "exits": exiting,
    "never yields": never_yielding,
    "is synchronous": synchronous,
    "returns nothing": nothing,
    "yields bytes": yielding(b"x"),
    "yields None": yielding(None),
    "yields an exception": yielding(ValueError()),
}


@pytest.mark.parametrize("fault", FAULTY)
async def test_a_faulty_agent_fails_its_run_and_its_words_stay_in_the_log_of_the_node(bench: Bench, fault: str) -> None:
    with structlog.testing.capture_logs() as logged:
        outcome = await bench.run(cast(Agent, FAULTY[fault]))
    assert failed(outcome) == "AGENT_ERROR"
    (line,) = logged
    assert (line["event"], line["reason"]) == ("agent_failed", "AGENT_ERROR")
    assert isinstance(line["exc_info"], BaseException)
    assert isinstance(outcome, Failed)
    assert line["error_id"] == outcome.error_id
    assert "not for clients" not in str(bench.events())


async def test_a_fault_past_the_fence_is_the_fences(bench: Bench) -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        bench.clock.advance(TTL_S)
        raise ValueError

    with pytest.raises(NodeFenced):
        await bench.run(agent)


@pytest.mark.parametrize("what", ["words", "tools"])
async def test_the_event_loop_breathes_although_an_agent_never_awaits(bench: Bench, what: str) -> None:
    breaths = 0
    over = False

    async def breathe() -> None:
        nonlocal breaths
        while not over:
            breaths += 1
            await asyncio.sleep(0)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(1_000):
            if what == "tools":
                await ctx.tool("quick", echoing)
            else:
                yield "x"

    breathing = asyncio.ensure_future(breathe())
    completed(await bench.run(agent))
    over = True
    await breathing
    assert breaths >= 1_000 // 40


async def test_what_an_agent_has_said_is_published_though_its_clean_up_raises(bench: Bench) -> None:
    async def agent(_ctx: Context) -> AsyncIterator[Any]:
        try:
            yield "words"
            yield 5
        finally:
            raise ValueError("in its clean-up")

    assert failed(await bench.run(agent)) == "AGENT_ERROR"
    assert bench.text == "words"
