"""What `ctx.stream_step` does in one attempt and in those after it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agent_node.run.outcome import Completed
from agentring.agent import Agent, AgentEvent, Context, Result, Retry, StepFailed, StepUnknown
from harness.attempts import Ran, Run

Source = Callable[..., AsyncIterator[Any]]


@pytest.fixture
def ran() -> Ran:
    return Ran()


def saying(ran: Ran, *pieces: Any, then: BaseException | None = None) -> Source:
    """A function that yields these, and then raises."""

    async def says(name: str) -> AsyncIterator[Any]:
        ran.called(name)
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece
        if then is not None:
            raise then

    return says


def model_then_step(ran: Ran, source: Source, **options: Any) -> Agent:
    """Yields the pieces of one stream, then the result of a step."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        stream = ctx.stream_step("model", source, "m", **options)
        try:
            async for piece in stream:
                yield piece
            yield f" {stream.result} "
        except (StepFailed, StepUnknown) as error:
            yield f" {error} "
        yield str(await ctx.step("after", ran.effect, "after"))

    return agent


@pytest.mark.parametrize("end", [{"usage": 3}, Result({"usage": 3})])
async def test_the_pieces_and_what_came_with_them_are_recorded_as_one_step(ran: Ran, end: Any) -> None:
    run = Run(model_then_step(ran, saying(ran, "a", "", "b\u00e9", end)))
    assert await run.attempt(2) is None
    assert run.bench.text == "ab\u00e9 {'usage': 3} "
    assert run.kept.names() == ["model COMPLETED"]
    assert run.kept.rows[0].value == '[["ab\u00e9"],{"usage":3}]'.encode()
    assert await run.to_the_end() == "ab\u00e9 {'usage': 3} after"
    assert ran.calls == {"m": 1, "after": 2}


@pytest.mark.parametrize("dies_at", [1, 1.5])
async def test_a_stream_without_an_outcome_is_called_again(ran: Ran, dies_at: float) -> None:
    run = Run(model_then_step(ran, saying(ran, "a", "b")))
    assert await run.attempt(dies_at) is None
    assert await run.to_the_end() == "ab None after"
    assert ran.calls["m"] == (2 if dies_at == 1 else 1)


async def test_the_function_may_be_a_coroutine_that_returns_the_stream(ran: Ran) -> None:
    async def opened(name: str, idempotency_key: str, fencing_token: int) -> AsyncIterator[str]:
        return saying(ran, name, idempotency_key.rpartition("/")[0], str(fencing_token))(name)

    run = Run(model_then_step(ran, opened))  # type: ignore[arg-type]
    assert await run.to_the_end() == "mdefault/session/s/t/step7 None after"


async def test_its_error_comes_after_its_pieces_in_every_attempt(ran: Ran) -> None:
    run = Run(model_then_step(ran, saying(ran, "a", "b", then=ConnectionError("gone")), retry=Retry()))
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "ab the step model failed: ConnectionError: gone after"
    assert ran.calls["m"] == 1, "it was tried again although the agent had its first pieces"


async def test_it_is_tried_again_while_no_piece_has_come(ran: Ran) -> None:
    async def flaky(name: str) -> AsyncIterator[str]:
        ran.called(name)
        if ran.calls[name] < 3:
            raise ConnectionError
        yield "at last"

    run = Run(model_then_step(ran, flaky, retry=Retry(most_tries=3, first_wait_s=0.001)))
    assert await run.to_the_end() == "at last None after"


async def test_its_time_is_the_whole_streams(ran: Ran) -> None:
    async def slow(name: str) -> AsyncIterator[str]:
        yield name
        await asyncio.get_running_loop().create_future()

    run = Run(model_then_step(ran, slow, timeout_s=0.01))
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "m the step model failed: TimeoutError:  after"


@pytest.mark.parametrize(
    ("pieces", "error"),
    [((1, "a"), "TypeError: a stream yields str"), ((object(),), "ResultNotKept"), (("a", {1: 2}), "ResultNotKept")],
)
async def test_what_cannot_be_kept_is_an_error(ran: Ran, pieces: tuple[Any, ...], error: str) -> None:
    run = Run(model_then_step(ran, saying(ran, *pieces)))
    first = await run.attempt(2)
    assert first is None
    assert error in await run.to_the_end()


async def test_what_is_no_stream_is_an_error(ran: Ran) -> None:
    async def no_stream(name: str) -> Any:
        return 5

    run = Run(model_then_step(ran, no_stream))  # type: ignore[arg-type]
    assert "model failed: TypeError" in await run.to_the_end()


async def test_a_stream_that_is_left_early_is_recorded_as_far_as_it_came(ran: Ran) -> None:
    closed: list[str] = []

    async def endless(name: str) -> AsyncIterator[str]:
        ran.called(name)
        try:
            for number in range(100):
                yield str(number)
        finally:
            closed.append(name)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        said = ""
        async for piece in ctx.stream_step("model", endless, "m"):
            yield piece
            said += piece
            if "2" in said:
                break
        yield str(await ctx.step("after", ran.effect, "after"))

    run = Run(agent)
    assert await run.attempt(2) is None
    assert run.kept.names() == ["model COMPLETED"]
    assert await run.to_the_end() == "012after"
    assert (ran.calls["m"], closed) == (1, ["m"])


async def test_leaving_one_that_is_kept_is_by_closing_it(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async with ctx.stream_step("model", saying(ran, "a", "b"), "m") as stream:
            yield await anext(stream)
        await stream.aclose()
        yield str([piece async for piece in stream])
        yield str(await ctx.step("after", ran.effect, "after"))

    run = Run(agent)
    assert await run.attempt(2) is None
    assert await run.to_the_end() == "a[]after"
    assert run.kept.names() == ["model COMPLETED", "after COMPLETED"]
    assert ran.calls["m"] == 1


async def test_a_time_out_of_the_agents_own_cancels_it_in_every_attempt_after_the_same_words(ran: Ran) -> None:
    async def slow(name: str) -> AsyncIterator[str]:
        ran.called(name)
        yield "some"
        yield " words"
        await asyncio.get_running_loop().create_future()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            async with asyncio.timeout(0.01):
                async for piece in ctx.stream_step("model", slow, "m"):
                    yield piece
        except TimeoutError:
            yield " late "
        yield str(await ctx.step("after", ran.effect, "after"))

    run = Run(agent)
    assert await run.attempt(2) is None
    assert run.kept.names() == ["model CANCELLED"]
    assert await run.to_the_end() == "some words late after"
    assert ran.calls["m"] == 1


async def test_one_that_must_not_run_twice_is_unknown_once_it_was_cut_off(ran: Ran) -> None:
    run = Run(model_then_step(ran, saying(ran, "a"), idempotent=False))
    assert await run.attempt(2) is None
    assert run.kept.names() == ["model STARTED"]
    assert "cut off" in await run.to_the_end()
    assert ran.calls["m"] == 1


@pytest.mark.parametrize("dies_at", [1, 1.5, 2, 2.5, 3, 3.5, 4])
async def test_steps_in_its_loop_are_the_same_in_every_attempt(ran: Ran, dies_at: float) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async for piece in ctx.stream_step("model", saying(ran, "a", "b", "c"), "m"):
            yield str(await ctx.step("speak", ran.effect, piece))

    run = Run(agent)
    assert await run.attempt(dies_at) is None
    assert await run.to_the_end() == "abc"
    landed = int(dies_at) if dies_at % 1 else int(dies_at) - 1
    again = "abc"[landed : landed + 1] if not dies_at % 1 and landed < 3 else ""
    assert ran.calls == {"m": 2 if landed < 4 else 1, **{name: 1 + (name == again) for name in "abc"}}


async def test_streams_side_by_side_and_inside_a_step(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def one(name: str) -> str:
            return "".join([piece async for piece in ctx.stream_step("model", saying(ran, name, "!"), name)])

        yield str(await asyncio.gather(one("a"), one("b"), ctx.step("outer", one, "c")))
        yield str(await ctx.step("after", ran.effect, "after"))

    run = Run(agent)
    assert await run.attempt(2) is None
    landed = {row.name for row in run.kept.rows}
    assert await run.to_the_end() == "['a!', 'b!', 'c!']after"
    assert landed == {"model"}
    assert ran.calls == {"a": 1, "b": 1, "c": 1, "after": 1}, "an inner stream had ended, and was called again"


async def test_its_value_has_the_type_that_the_author_names(ran: Ran) -> None:
    @dataclass
    class Usage:
        tokens: int

    found: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        stream = ctx.stream_step("model", saying(ran, "a", Usage(5)), "m", returns=Usage)
        async for piece in stream:
            yield piece
        found.append(stream.result)
        await ctx.step("after", ran.effect, "after")

    run = Run(agent)
    await run.attempt(2)
    await run.to_the_end()
    assert found == [Usage(5), Usage(5)]


async def test_a_large_stream_and_one_of_half_characters(ran: Ran) -> None:
    pieces = ["x" * 3_000, "\ud83d", "\ude00", "\ud83d"]
    run = Run(model_then_step(ran, saying(ran, *pieces, "y" * 3_000)))
    assert await run.attempt(3) is None
    expected = "x" * 3_000 + "\N{GRINNING FACE}\N{REPLACEMENT CHARACTER}" + "y" * 3_000 + " None after"
    assert await run.to_the_end() == expected
    assert ran.calls["m"] == 1


async def test_the_end_of_the_run_is_no_outcome_of_it(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        async for piece in ctx.stream_step("model", saying(ran, "a"), "m"):
            yield piece
            ran.called("waiting")
            await asyncio.get_running_loop().create_future()

    run = Run(agent)

    async def cancelled(_attempt: Any, running: Any) -> None:
        await ran.until_called("waiting")
        running.cancel()

    assert await run.attempt(meanwhile=cancelled) is None
    assert run.kept.names() == []


async def test_one_that_is_never_read_does_nothing(ran: Ran) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        stream = ctx.stream_step("model", saying(ran, "a"), "m")
        await stream.aclose()
        yield "done"

    run = Run(agent)
    outcome = await run.attempt()
    assert isinstance(outcome, Completed)
    assert (outcome.text, run.kept.names(), ran.calls) == ("done", [], {})
