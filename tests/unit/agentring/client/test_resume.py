"""Streams that break: whatever is cut where, a turn runs once and its words are the same."""

import asyncio
import gc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentring.client import Gap, RetryPolicy, RingClosed, RingUnreachable, TextDelta, Turn, TurnCompleted, connect
from agentring.errors import NoNodes, ResumeOffsetExpired, RouterStopping, SessionClosed
from harness.breaking import breaking, serving

PIECES = ["Grüße, ", "Ada. ", "🙂 ", "日本", "x", " end"]
TEXT = "".join(PIECES)
FOR_EVER_S = 3_600.0


class Sleeps:
    """Waits that are written down instead of waited."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def sleep(self, wait_s: float) -> None:
        self.waited.append(wait_s)


def policy(sleeps: Sleeps, reconnect_s: float = 60.0) -> RetryPolicy:
    return RetryPolicy(sleep=sleeps.sleep, jitter=lambda: 1.0, reconnect_s=reconnect_s)


@settings(max_examples=60)
@given(
    pieces=st.lists(st.text(min_size=1, max_size=6), max_size=12),
    cuts=st.lists(st.integers(0, 14), max_size=6),
    seed=st.integers(0, 1_000),
)
def test_any_cuts_give_the_same_words_and_one_run(pieces: list[str], cuts: list[int], seed: int) -> None:
    async def run() -> None:
        service = breaking(pieces, cuts, seed=seed)
        async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
            turn = ring.session("ada", agent="echo").send("hello")
            events = [event async for event in turn]
            assert turn.text == "".join(pieces)
            assert "".join(event.text for event in events if isinstance(event, TextDelta)) == turn.text
            covered = [number for event in events for number in range(event.first_seq, event.seq + 1)]
            assert covered == list(range(1, len(pieces) + 4))
            assert isinstance(events[-1], TurnCompleted)
            assert service.runs == 1

    asyncio.run(run())


@pytest.mark.parametrize("cut", range(len(PIECES) + 4))
async def test_a_turn_cut_at_any_event_goes_on(cut: int) -> None:
    service = breaking(PIECES, [cut] * 3)
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        outcome = await ring.session("ada", agent="echo").run("hello")
    assert (outcome.text, outcome.result, outcome.is_whole) == (TEXT, {"pieces": len(PIECES)}, True)
    assert len(set(service.turn_ids)) == 1


async def test_a_watch_goes_on_after_what_it_was_sent() -> None:
    service = breaking(PIECES, [3, 0, 2])
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        text = ""
        async for event in ring.session("ada").watch(0):
            text += event.text if isinstance(event, TextDelta) else ""
            if isinstance(event, TurnCompleted):
                break
    assert text == TEXT
    assert service.after_seqs[0] == 0
    assert service.after_seqs == sorted(after or 0 for after in service.after_seqs)
    assert len(service.after_seqs) == 4


async def test_a_wait_that_the_server_asked_for_is_waited() -> None:
    sleeps = Sleeps()
    service = breaking(PIECES, [0, 0, 0], error=NoNodes())
    async with serving(service) as address, connect(address, policy=policy(sleeps)) as ring:
        await ring.session("ada", agent="echo").run("hello")
    assert sleeps.waited == [1.05, 1.1, 1.2]


async def test_waiting_ends_with_the_reason_when_there_is_no_progress() -> None:
    service = breaking(PIECES, [0] * 9, error=NoNodes())
    async with serving(service) as address, connect(address, policy=policy(Sleeps(), reconnect_s=0.5)) as ring:
        with pytest.raises(NoNodes):
            await ring.session("ada", agent="echo").run("hello")
    assert len(service.turn_ids) == 1


async def test_time_that_the_caller_takes_is_not_patience_lost() -> None:
    service = breaking(PIECES, [3])
    async with serving(service) as address, connect(address, policy=policy(Sleeps(), reconnect_s=0.1)) as ring:
        async for event in (turn := ring.session("ada", agent="echo").send("hello")):
            if isinstance(event, TextDelta) and event.offset == 0:
                await asyncio.sleep(0.2)  # as a person who is asked
        assert turn.text == TEXT


async def test_what_is_no_routers_fault_is_not_asked_of_another() -> None:
    refusing, other = breaking(PIECES, [0, 0], error=NoNodes()), breaking(PIECES, [])
    async with (
        serving(refusing) as first,
        serving(other) as second,
        connect(f"{first},{second}", policy=policy(Sleeps())) as ring,
    ):
        assert (await ring.session("ada", agent="echo").run("hello")).text == TEXT
    assert (len(refusing.turn_ids), len(other.turn_ids)) == (3, 0)


async def test_what_waiting_does_not_mend_is_told_at_once() -> None:
    service = breaking(PIECES, [0], error=SessionClosed())
    async with serving(service) as address, connect(address) as ring:
        with pytest.raises(SessionClosed):
            await ring.session("ada", agent="echo").run("hello")
    assert len(service.turn_ids) == 1


async def test_nobody_there_is_told_when_the_patience_is_over() -> None:
    async with connect("127.0.0.1:1", policy=RetryPolicy(reconnect_s=0.2)) as ring:
        with pytest.raises(RingUnreachable):
            await ring.session("ada", agent="echo").get()


async def test_a_router_that_stops_is_left_for_the_next_without_a_wait() -> None:
    sleeps = Sleeps()
    stopping = breaking(PIECES, [3], error=RouterStopping())
    other = breaking(PIECES, [])
    async with (
        serving(stopping) as first,
        serving(other) as second,
        connect(f"{first}, {second}", policy=policy(sleeps)) as ring,
    ):
        outcome = await ring.session("ada", agent="echo").run("hello")
    assert outcome.text == TEXT
    assert stopping.turn_ids == other.turn_ids
    assert sleeps.waited == [0.05]


async def test_who_leaves_early_leaves_no_call() -> None:
    service = breaking(PIECES, [])
    async with serving(service) as address, connect(address) as ring:
        async for event in ring.session("ada").watch(0):
            if isinstance(event, TurnCompleted):
                break
        del event
        gc.collect()
        await asyncio.wait_for(service.left.wait(), 5)


async def test_a_cancelled_anext_loses_nothing() -> None:
    service = breaking(PIECES, [])
    async with serving(service) as address, connect(address) as ring:
        stream = ring.session("ada").watch(0)
        text = ""
        while text != TEXT:
            event = await anext(stream)
            text += event.text if isinstance(event, TextDelta) else ""
        await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        assert service.after_seqs == [0, len(PIECES) + 3]
        await stream.aclose()
        assert [event async for event in stream] == []


async def test_closing_the_ring_ends_what_is_iterated() -> None:
    service = breaking(PIECES, [])
    async with serving(service) as address, connect(address) as ring:
        stream = ring.session("ada").watch(0)
        await anext(stream)

        async def read() -> None:
            async for _ in stream:
                pass

        reading = asyncio.create_task(read())
        await until(lambda: stream.seq == len(PIECES) + 3)
        await ring.close()
        with pytest.raises(RingClosed):
            await asyncio.wait_for(reading, 5)
        with pytest.raises(RingClosed):
            await ring.session("ada").get()


async def test_turns_left_early_leave_no_task_and_no_call() -> None:
    service = breaking(["word "] * 50, [])
    async with serving(service) as address, connect(address) as ring:
        await ring.session("ada", agent="echo").run("warm up")
        await until(lambda: service.open_calls == 0)
        before = len(asyncio.all_tasks())
        for _ in range(20):
            async for event in ring.session("ada", agent="echo").send("hello"):
                if isinstance(event, TextDelta):
                    break
            with pytest.raises(ZeroDivisionError):
                await fail_midway(ring.session("ada", agent="echo").send("hello"))
        gc.collect()
        await until(lambda: service.open_calls == 0 and len(asyncio.all_tasks()) <= before)


async def until(holds: Callable[[], bool]) -> None:
    """Returns once it holds; gRPC tells nobody when it has put a call away."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def fail_midway(turn: Turn) -> None:
    async for event in turn:
        _ = event.seq // 0


async def test_a_stream_that_was_read_to_its_end_is_not_cancelled() -> None:
    service = breaking(PIECES, [], lingers_s=0.05)
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        for _ in range(3):
            await ring.session("ada", agent="echo").run("hello")
        assert (service.open_calls, service.left.is_set()) == (0, False)


async def test_a_status_that_never_comes_after_the_last_event_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentring.client.streams._END_S", 0.05)
    service = breaking(PIECES, [], lingers_s=FOR_EVER_S)
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        assert (await ring.session("ada", agent="echo").run("hello")).text == TEXT
        async with asyncio.timeout(10):
            await service.left.wait()


async def test_streams_that_are_left_half_read_leave_nothing() -> None:
    service = breaking(PIECES, [], lingers_s=FOR_EVER_S)
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        tasks = len(asyncio.all_tasks())
        for number in range(200):
            turn = ring.session(f"s{number}", agent="echo").send("hello")
            async for _ in turn:
                if number % 2:
                    await turn.aclose()
                break
        del turn
        gc.collect()
        async with asyncio.timeout(10):
            while service.open_calls or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110  gRPC's own
                await asyncio.sleep(0.01)


async def test_a_watch_whose_place_is_no_longer_kept_is_told_so_and_goes_on() -> None:
    service = breaking(PIECES, [3], oldest_seq=6)
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        events = []
        async for event in ring.session("ada").watch(0):
            events.append(event)
            if isinstance(event, TurnCompleted):
                break
    covered = [number for event in events for number in range(event.first_seq, event.seq + 1)]
    assert covered == list(range(1, len(PIECES) + 4))
    (gap,) = [event for event in events if isinstance(event, Gap)]
    assert gap.seq == 5


async def test_a_watch_from_a_place_that_was_never_kept_is_refused() -> None:
    service = breaking(PIECES, [], oldest_seq=6)
    async with serving(service) as address, connect(address, policy=policy(Sleeps())) as ring:
        with pytest.raises(ResumeOffsetExpired):
            await anext(ring.session("ada").watch(2))
