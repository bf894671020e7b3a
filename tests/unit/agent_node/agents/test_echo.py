"""echo streams exactly what it was asked for, at the rate it was asked for, and refuses what it cannot read."""

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.agents.echo import BREATH_TOKENS, MAX_TOKENS, EchoParameters, Pace, echo, read_parameters
from harness.agent_context import FakeContext, run_agent


class FakeClock:
    """Time that passes only in `sleep`, which wakes up `late_s` too late, as event loops do."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.late_s = late_s
        self.slept: list[float] = []

    def now(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        if delay_s > 0:
            self.now_s += delay_s + self.late_s


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("hello", ["hello"]),
        ("hello there, Ada", ["hello ", "there, ", "Ada"]),
        ("  two  spaces\nand a line\n", ["  ", "two  ", "spaces\n", "and ", "a ", "line\n"]),
        ("grüße 👋 世界", ["grüße ", "👋 ", "世界"]),
        (" \t ", [" \t "]),
        ("rate=5", ["rate=5"]),
        ("tokens=5 please", ["tokens=5 ", "please"]),
    ],
)
async def test_streams_the_words_of_the_text(text: str, pieces: list[str]) -> None:
    assert await run_agent(echo, FakeContext(text)) == (pieces, {"tokens": len(pieces)})


@given(st.text())
@settings(deadline=None)
def test_the_pieces_are_the_text_again(text: str) -> None:
    pieces, result = asyncio.run(run_agent(echo, FakeContext(text)))
    assert "".join(pieces) == text
    assert result == {"tokens": len(pieces)}


@pytest.mark.parametrize(
    ("text", "data", "pieces"),
    [
        ("", {"tokens": 0}, []),
        ("words that are not asked for", {"tokens": 0}, []),
        ("", {"tokens": 3}, ["token0 ", "token1 ", "token2 "]),
        ("", {"tokens": 2.0}, ["token0 ", "token1 "]),
        ("a b", {"tokens": 5}, ["a ", "b ", "a ", "b ", "a "]),
        ("tokens=2", {}, ["token0 ", "token1 "]),
        (" rate=1e9\ntokens=2 ", {}, ["token0 ", "token1 "]),
        # With data, the text is only text.
        ("tokens=2", {"tokens": 1}, ["tokens=2 "]),
    ],
)
async def test_streams_so_many_tokens(text: str, data: dict[str, Any], pieces: list[str]) -> None:
    assert await run_agent(echo, FakeContext(text, data)) == (pieces, {"tokens": len(pieces)})


async def test_streams_as_many_as_it_promises() -> None:
    pieces, result = await run_agent(echo, FakeContext(input_data={"tokens": MAX_TOKENS}))
    assert (len(pieces), result) == (MAX_TOKENS, {"tokens": MAX_TOKENS})


@pytest.mark.parametrize(
    ("data", "text", "expected"),
    [
        ({}, "hello", (EchoParameters(), "hello")),
        ({"rate": 50}, "hello", (EchoParameters(rate=50.0), "hello")),
        ({"tokens": None, "rate": None}, "hello", (EchoParameters(), "hello")),
        ({"tokens": 20, "rate": 0.5}, "", (EchoParameters(tokens=20, rate=0.5), "")),
        ({}, "tokens=20 rate=100", (EchoParameters(tokens=20, rate=100.0), "")),
    ],
)
def test_reads_its_parameters(data: dict[str, Any], text: str, expected: tuple[EchoParameters, str]) -> None:
    assert read_parameters(data, text) == expected


@pytest.mark.parametrize(
    ("text", "data", "message"),
    [
        ("", {"tokens": -1}, "tokens must be a whole number from 0 to 100000"),
        ("", {"tokens": MAX_TOKENS + 1}, "tokens must be a whole number from 0 to 100000"),
        ("", {"tokens": 1.5}, "tokens must be a whole number from 0 to 100000"),
        ("", {"tokens": True}, "tokens must be a whole number from 0 to 100000"),
        ("", {"tokens": "20"}, "tokens must be a whole number from 0 to 100000"),
        ("", {"tokens": math.nan}, "tokens must be a whole number from 0 to 100000"),
        ("", {"tokens": 1, "rate": 0}, "rate must be a number of tokens per second, at least 0.001"),
        ("", {"tokens": 1, "rate": -5}, "rate must be a number of tokens per second, at least 0.001"),
        ("", {"tokens": 1, "rate": math.inf}, "rate must be a number of tokens per second, at least 0.001"),
        ("", {"tokens": 1, "rate": False}, "rate must be a number of tokens per second, at least 0.001"),
        ("", {"token": 1}, "echo has two parameters, tokens and rate"),
        ("tokens=many", {}, "tokens and rate must be numbers, as in tokens=20 rate=100"),
        ("tokens=", {}, "tokens and rate must be numbers, as in tokens=20 rate=100"),
        ("tokens=1 tokens=2", {}, "tokens and rate can be given once each"),
        ("tokens=1 rate=nan", {}, "rate must be a number of tokens per second, at least 0.001"),
    ],
)
async def test_refuses_bad_parameters_before_the_first_word(text: str, data: dict[str, Any], message: str) -> None:
    events = echo(FakeContext(text, data))
    with pytest.raises(ValueError) as refused:
        await anext(events)
    assert str(refused.value) == message


async def test_a_rate_holds_however_late_each_wake_up_is() -> None:
    clock = FakeClock(late_s=0.03)
    pace = Pace(10.0, clock.now, clock.sleep)
    passed_at = []
    for _ in range(101):
        await pace.until_due()
        passed_at.append(clock.now_s)
    # The first is due at once; each later one is as late as its own wake-up, and no later.
    assert passed_at == pytest.approx([100.0, *(100.03 + n / 10 for n in range(1, 101))])


async def test_keeps_the_event_loops_time() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await run_agent(echo, FakeContext("tokens=3 rate=100"))
    # Two waits of 10 ms; the loop's timers may fire early by its clock's resolution.
    assert loop.time() - start > 0.019


async def test_catches_up_after_a_standstill_without_waiting() -> None:
    clock = FakeClock()
    pace = Pace(1.0, clock.now, clock.sleep)
    await pace.until_due()
    clock.now_s += 3.5
    clock.slept.clear()
    for _ in range(3):
        await pace.until_due()
    assert (clock.slept, clock.now_s) == ([], 103.5)
    await pace.until_due()
    assert (clock.slept, clock.now_s) == ([0.5], 104.0)


async def test_lets_the_event_loop_breathe_at_full_speed() -> None:
    clock = FakeClock()
    pace = Pace(None, clock.now, clock.sleep)
    for _ in range(2 * BREATH_TOKENS + 1):
        await pace.until_due()
    assert clock.slept == [0, 0, 0]


async def test_others_run_while_it_streams() -> None:
    rounds = 0

    async def other() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(other())
        await run_agent(echo, FakeContext(input_data={"tokens": 10 * BREATH_TOKENS}))
        task.cancel()
    assert rounds == 10
