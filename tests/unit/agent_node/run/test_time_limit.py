"""Somebody else's code comes to an end for its caller, whatever it does."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest
import structlog

from agent_node.run.time_limit import (
    ABANDONED,
    MOST_ABANDONED,
    BoundedRun,
    DeadlineExceeded,
    PausableDeadline,
    TooManyAbandoned,
    run_bounded,
)
from harness.clock import PATIENCE_S
from harness.stubborn import Stubborn

TINY_S = 0.01
AGENT = "agent"


async def _returning() -> None:
    await asyncio.sleep(0)


async def _waiting() -> None:
    await asyncio.Event().wait()


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


async def test_code_that_ends_in_time_raised_nothing() -> None:
    assert await run_bounded(_returning, time=PausableDeadline(PATIENCE_S), grace_s=PATIENCE_S, agent=AGENT) is None


@pytest.mark.parametrize(
    "error",
    [ValueError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Unusual()],
    ids=repr,
)
async def test_whatever_it_raises_is_returned(error: BaseException) -> None:
    async def raising() -> None:
        raise error

    assert await run_bounded(raising, time=PausableDeadline(PATIENCE_S), grace_s=PATIENCE_S, agent=AGENT) is error


async def test_what_is_awaited_once_the_time_is_over_comes_before_the_code_is_asked_to_end() -> None:
    seen: list[str] = []

    async def waiting() -> None:
        try:
            await _waiting()
        finally:
            seen.append("ended")

    async def late() -> None:
        seen.append("late")
        await asyncio.sleep(0)
        seen.append("stored")

    time = PausableDeadline(PATIENCE_S)
    run = BoundedRun(time=time, grace_s=PATIENCE_S, agent=AGENT)
    assert not run.begin(waiting)
    time.expire()
    assert isinstance(await run.wait(late), DeadlineExceeded)
    assert seen == ["late", "stored", "ended"]


async def test_the_code_ends_also_where_that_fails_or_is_cancelled() -> None:
    reached = asyncio.Event()

    async def failing() -> None:
        raise ValueError

    async def cancelled() -> None:
        reached.set()
        await _waiting()

    for late, error in ((failing, ValueError), (cancelled, asyncio.CancelledError)):
        ended, time = asyncio.Event(), PausableDeadline(PATIENCE_S)

        async def waiting(ended: asyncio.Event = ended) -> None:
            try:
                await _waiting()
            finally:
                ended.set()

        run = BoundedRun(time=time, grace_s=PATIENCE_S, agent=AGENT)
        assert not run.begin(waiting)
        time.expire()
        waits = asyncio.ensure_future(run.wait(late))
        if late is cancelled:
            await reached.wait()
            waits.cancel()
        with pytest.raises(error):
            await waits
        assert ended.is_set()


async def test_code_that_is_over_time_is_cancelled() -> None:
    ended = asyncio.Event()

    async def waiting() -> None:
        try:
            await _waiting()
        finally:
            ended.set()

    assert isinstance(
        await run_bounded(waiting, time=PausableDeadline(TINY_S), grace_s=PATIENCE_S, agent=AGENT), DeadlineExceeded
    )
    assert ended.is_set()


@pytest.mark.parametrize("end", [lambda: None, lambda: sys.exit(1)], ids=["returns", "exits"])
async def test_code_that_answers_its_deadline_with_another_end_has_met_it_all_the_same(
    end: Callable[[], None],
) -> None:
    async def swallowing() -> None:
        try:
            await _waiting()
        except asyncio.CancelledError:
            end()

    assert isinstance(
        await run_bounded(swallowing, time=PausableDeadline(TINY_S), grace_s=PATIENCE_S, agent=AGENT), DeadlineExceeded
    )


async def test_code_that_does_not_end_is_abandoned_at_its_deadline() -> None:
    code = Stubborn()
    with structlog.testing.capture_logs() as logged:
        assert isinstance(
            await run_bounded(code.run, time=PausableDeadline(TINY_S), grace_s=TINY_S, agent=AGENT), DeadlineExceeded
        )
    assert [line["event"] for line in logged] == ["agent_let_go"]
    assert code.cancelled.is_set()
    code.let_end.set()


async def test_code_that_does_not_end_is_abandoned_when_its_caller_is_cancelled() -> None:
    code = Stubborn()
    caller = asyncio.ensure_future(
        run_bounded(code.run, time=PausableDeadline(PATIENCE_S), grace_s=TINY_S, agent=AGENT)
    )
    await code.begun.wait()
    caller.cancel()
    await asyncio.wait([caller], timeout=PATIENCE_S)
    assert caller.cancelled()
    assert code.cancelled.is_set()
    code.let_end.set()


async def test_a_second_cancellation_waits_no_longer() -> None:
    code = Stubborn()
    caller = asyncio.ensure_future(
        run_bounded(code.run, time=PausableDeadline(PATIENCE_S), grace_s=10 * PATIENCE_S, agent=AGENT)
    )
    await code.begun.wait()
    caller.cancel()
    await code.cancelled.wait()
    caller.cancel()
    await asyncio.wait([caller], timeout=PATIENCE_S)
    assert caller.cancelled()
    code.let_end.set()


@pytest.mark.parametrize("code", [_waiting, _returning])
async def test_a_caller_that_is_cancelled_before_the_code_began_leaves_nothing(
    code: Callable[[], Awaitable[None]],
) -> None:
    caller = asyncio.ensure_future(
        run_bounded(code, time=PausableDeadline(PATIENCE_S), grace_s=PATIENCE_S, agent=AGENT)
    )
    asyncio.get_running_loop().call_soon(caller.cancel)
    await asyncio.wait([caller], timeout=PATIENCE_S)
    assert caller.cancelled()


async def test_what_was_abandoned_is_counted_until_it_ends_and_bounded_by_agent() -> None:
    codes = [_Stubborn() for _ in range(MOST_ABANDONED)]
    total, running = ABANDONED.total, ABANDONED.running
    for code in codes:
        outcome = await run_bounded(code.run, time=PausableDeadline(0.0), grace_s=0.0, agent="stuck")
        assert isinstance(outcome, DeadlineExceeded)
    assert (ABANDONED.total - total, ABANDONED.running - running) == (MOST_ABANDONED, MOST_ABANDONED)
    refused = await run_bounded(_returning, time=PausableDeadline(PATIENCE_S), grace_s=0.0, agent="stuck")
    assert isinstance(refused, TooManyAbandoned)
    assert await run_bounded(_returning, time=PausableDeadline(PATIENCE_S), grace_s=0.0, agent="another") is None
    for code in codes:
        code.go.set()
    async with asyncio.timeout(PATIENCE_S):
        while ABANDONED.running > running:  # noqa: ASYNC110  they end within a few rounds of the loop
            await asyncio.sleep(0)
    assert await run_bounded(_returning, time=PausableDeadline(PATIENCE_S), grace_s=0.0, agent="stuck") is None


class _Stubborn:
    """Swallows every cancellation until it may go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def run(self) -> None:
        while not self.go.is_set():
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                continue


async def test_time_that_is_held_does_not_run() -> None:
    time = PausableDeadline(TINY_S)
    time.pause()
    held = asyncio.Event()

    async def code() -> None:
        asyncio.get_running_loop().call_later(5 * TINY_S, held.set)
        await held.wait()

    assert await run_bounded(code, time=time, grace_s=PATIENCE_S, agent=AGENT) is None
