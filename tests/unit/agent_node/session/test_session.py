"""One session as an actor: what it accepts, in which order it stores and tells, and how every turn ends once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent_node.session.session import Session
from agent_node.store import Ownership
from agentring.agent import AgentEvent, Context
from agentring.errors import (
    AgentMismatch,
    MailboxFull,
    MalformedRequest,
    NodeDraining,
    NodeFenced,
    SessionClosed,
    StaleEpoch,
    TooManyTurns,
    TurnIdReused,
    TurnInProgress,
    TurnNotFound,
)
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import (
    ON_BUSY_ENQUEUE,
    ON_BUSY_INTERRUPT,
    ON_BUSY_REJECT,
    TURN_STATE_ACCEPTED,
    TURN_STATE_CANCELLED,
    TURN_STATE_COMPLETED,
    TURN_STATE_FAILED,
    TURN_STATE_RUNNING,
)
from harness.clock import PATIENCE_S
from harness.premises import TTL_S, Stage
from harness.sessions import GRACE_S, acting, kind_of
from harness.stores import RecordingStore
from harness.streams import assert_gapless
from harness.stubborn import Stubborn


async def quick(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Counts its turns."""
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield ctx.input_text


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def gone(waiting: "asyncio.Task[object]") -> None:
    """Cancels a call as a client does that hangs up."""
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_a_turn_is_stored_before_it_is_told() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        told: list[tuple[str, list[str]]] = []
        store.watch = lambda method: told.append((method, actor.kinds))
        assert await actor.submit("a")
        await actor.until_ended("a")
    assert told == [
        ("accept_turn", []),
        ("commit_turn", ["turn_accepted a", "turn_started a", "text_delta a", "state_changed a"]),
    ]
    assert_gapless(actor.events(), 0)
    assert [turn.state for turn in store.turns] == [TURN_STATE_RUNNING, TURN_STATE_COMPLETED]
    assert [turn.accepted_seq for turn in store.turns] == [1, 1]
    assert [turn.end_seq for turn in store.turns] == [None, 5]
    assert actor.audit.lines == [("turn_accepted", "a"), ("turn_started", "a"), ("turn_committed", "a")]


async def test_turns_run_one_at_a_time_in_order_each_on_the_state_before(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "abc":
            assert await actor.submit(turn_id)
        await stage.begun.wait()
        assert [actor.session.turn(each).state for each in "abc"] == [
            TURN_STATE_RUNNING,
            TURN_STATE_ACCEPTED,
            TURN_STATE_ACCEPTED,
        ]
        stage.go.set()
        assert await actor.until_ended("a", "b", "c") == ["turn_completed"] * 3
        told = [line for line in actor.kinds if "started" in line or "completed" in line]
        assert told == [f"turn_{what} {turn_id}" for turn_id in "abc" for what in ("started", "completed")]
        ahead = [event.turn_accepted.turns_ahead for event in actor.events() if event.HasField("turn_accepted")]
        assert ahead[1:] == [1, 2]
        assert actor.session.stored.state_json == '{"turns": 3}'
        assert [past.input_text for past in actor.session.stored.history] == ["hi"] * 3
    assert actor.store.most_under_way == 1


async def test_the_same_turn_id_is_the_same_turn_while_it_waits_runs_and_has_ended(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            assert await actor.submit(turn_id)
        for _ in range(2):
            for turn_id in "ab":
                assert not await actor.submit(turn_id, on_busy=ON_BUSY_REJECT)
                with pytest.raises(TurnIdReused):
                    await actor.submit(turn_id, "something else", on_busy=ON_BUSY_INTERRUPT)
            stage.go.set()
            await actor.until_ended("a", "b")
    assert stage.runs == 2
    assert actor.store.calls.count("accept_turn") == 2


async def test_the_same_turn_id_sent_twice_at_once_is_accepted_once() -> None:
    async with acting(quick) as actor:
        assert sorted(await asyncio.gather(*(actor.submit("a") for _ in range(5)))) == [False] * 4 + [True]
        await actor.until_ended("a")
    assert actor.store.calls == ["accept_turn", "commit_turn"]


async def test_a_turn_that_failed_leaves_the_state_and_its_successors_run(stage: Stage) -> None:
    async with acting(stage.failing) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        assert await actor.until_ended("a", "b") == ["turn_failed"] * 2
        assert actor.session.turn("a").state == TURN_STATE_FAILED
        assert (actor.session.stored.state_json, actor.session.stored.turns_completed) == ("{}", 0)
        assert actor.session.stored.history == ()
    assert [turn.state for turn in actor.store.turns[-1:]] == [TURN_STATE_FAILED]


async def test_a_busy_session_refuses_what_must_not_wait(stage: Stage) -> None:
    async with acting(stage.held, mailbox_size=1) as actor:
        assert await actor.submit("a", on_busy=ON_BUSY_REJECT)
        with pytest.raises(TurnInProgress):
            await actor.submit("x", on_busy=ON_BUSY_REJECT)
        await stage.begun.wait()
        with pytest.raises(TurnInProgress) as refused:
            await actor.submit("x", on_busy=ON_BUSY_REJECT)
        assert refused.value.turn_id == "a"
        await actor.submit("b")
        for on_busy in (ON_BUSY_ENQUEUE, session_pb2.ON_BUSY_UNSPECIFIED):
            with pytest.raises(MailboxFull):
                await actor.submit("x", on_busy=on_busy)
        with pytest.raises(TurnNotFound):
            actor.session.turn("x")
        stage.go.set()
        await actor.until_ended("a", "b")
        assert await actor.submit("x", on_busy=ON_BUSY_REJECT)
        await actor.until_ended("x")


async def test_an_interrupt_cancels_all_before_it_and_runs_next(stage: Stage) -> None:
    async with acting(stage.held, mailbox_size=2) as actor:
        for turn_id in "abc":
            await actor.submit(turn_id)
            await stage.begun.wait()
        stage.begun.clear()
        await actor.submit("d", on_busy=ON_BUSY_INTERRUPT)
        ended = [event for event in actor.events() if event.HasField("turn_cancelled")]
        assert sorted((event.turn_id, event.turn_cancelled.reason) for event in ended) == [
            (turn_id, "INTERRUPTED") for turn_id in "abc"
        ]
        assert stage.runs == 1
        stage.go.set()
        assert await actor.until_ended("d") == ["turn_completed"]
        accepted = actor.kinds.index("turn_accepted d")
        assert all(actor.kinds.index(f"turn_cancelled {turn_id}") < accepted for turn_id in "abc")


async def test_what_is_no_json_or_bound_to_another_agent_is_refused() -> None:
    async with acting(quick) as actor:
        given = session_pb2.Input()
        given.data["x"] = float("nan")
        with pytest.raises(MalformedRequest):
            await actor.session.submit("a", given, ON_BUSY_ENQUEUE)
        with pytest.raises(AgentMismatch):
            actor.session.check_agent("other")
        actor.session.check_agent("")
        actor.session.check_agent("agent")
    assert actor.store.calls == []


async def test_a_cancel_ends_a_waiting_or_running_turn_and_changes_no_ended_one(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        for turn_id in "ba":
            assert (await actor.session.cancel(turn_id)).state == TURN_STATE_CANCELLED
        stage.go.set()
        await actor.submit("c")
        await actor.until_ended("c")
        assert (await actor.session.cancel("c")).state == TURN_STATE_COMPLETED
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
        with pytest.raises(TurnNotFound):
            await actor.session.cancel("x")
        assert [line for line in actor.kinds if "cancelled" in line] == ["turn_cancelled b", "turn_cancelled a"]
        assert actor.session.stored.state_json == '{"turns": 1}'


async def test_concurrent_cancels_of_a_turn_all_learn_its_end(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        held = store.hold("end_turn")
        cancels = [asyncio.ensure_future(actor.session.cancel(turn_id)) for turn_id in "aabb"]
        await store.reached["end_turn"].wait()
        cancels.append(asyncio.ensure_future(actor.session.cancel("b")))
        held.set()
        assert [turn.state for turn in await asyncio.gather(*cancels)] == [TURN_STATE_CANCELLED] * 5
    assert [line for line in actor.kinds if "cancelled" in line] in (
        ["turn_cancelled a", "turn_cancelled b"],
        ["turn_cancelled b", "turn_cancelled a"],
    )


async def test_a_cancel_while_the_outcome_is_being_stored_is_too_late() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold("commit_turn")
        await actor.submit("a")
        await store.reached["commit_turn"].wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        await asyncio.sleep(0)
        assert not cancel.done()
        held.set()
        assert (await cancel).state == TURN_STATE_COMPLETED
        assert [line for line in actor.kinds if line.endswith(" a")][-1] == "turn_completed a"
        assert "end_turn" not in store.calls


async def test_a_tool_start_that_is_stored_is_audited_although_its_turn_is_cancelled_meanwhile() -> None:
    called = []

    async def calling(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.tool("search", search)
        yield "found"

    async def search() -> None:
        called.append("search")

    store = RecordingStore()
    async with acting(calling, store=store) as actor:
        held = store.hold("start_tool")
        await actor.submit("a")
        await store.reached["start_tool"].wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        await asyncio.sleep(0)
        held.set()
        assert (await cancel).state == TURN_STATE_CANCELLED
        assert ("tool_started", "a") in actor.audit.lines
    assert called == []


async def test_a_turn_cancelled_at_any_moment_ends_once(stage: Stage) -> None:
    """The cancel comes after so many turns of the event loop as it takes from the submit to the end, and beyond."""
    for moment in range(40):
        async with acting(quick) as actor:
            submitting = asyncio.ensure_future(actor.submit("a"))
            for _ in range(moment):
                await asyncio.sleep(0)
            try:
                ended = await actor.session.cancel("a")
            except TurnNotFound:
                await submitting
                ended = await actor.session.cancel("a")
            await submitting
            assert ended == actor.session.turn("a")
            ends = [kind_of(event) for event in actor.events() if event.seq == ended.end_seq]
            assert ends == [
                {TURN_STATE_COMPLETED: "turn_completed", TURN_STATE_CANCELLED: "turn_cancelled"}[ended.state]
            ]
            assert sum("turn_c" in line for line in actor.kinds) == 1
            assert await actor.submit("b")
            assert await actor.until_ended("b") == ["turn_completed"]


@pytest.mark.parametrize("ended_by", ["cancel", "interrupt", "close", "drain"])
async def test_an_agent_that_swallows_its_cancellation_holds_nobody_up(ended_by: str) -> None:
    stubborn = Stubborn()
    async with acting(stubborn.agent) as actor:
        await actor.submit("a")
        await stubborn.begun.wait()
        match ended_by:
            case "cancel":
                await actor.session.cancel("a")
            case "interrupt":
                await actor.submit("b", on_busy=ON_BUSY_INTERRUPT)
            case "close":
                await actor.session.close(0.0)
            case "drain":
                await actor.drain(0.0)
        assert actor.session.turn("a").state == TURN_STATE_CANCELLED
        stubborn.let_end.set()
    assert actor.session.stored.state_json == "{}"


async def test_a_stubborn_agent_does_not_keep_a_dropped_session_alive() -> None:
    stubborn = Stubborn()
    async with acting(stubborn.agent) as actor:
        await actor.submit("a")
        await stubborn.begun.wait()
        actor.drop()
        await asyncio.wait([actor.runner], timeout=GRACE_S + PATIENCE_S)
        assert actor.runner.cancelled()
        stubborn.let_end.set()


async def test_a_closed_session_ends_its_turns_and_takes_no_more(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        await actor.session.close(5.0)
        await actor.session.close(6.0)
        ended = [event.turn_cancelled.reason for event in actor.events() if event.HasField("turn_cancelled")]
        assert ended == ["SESSION_CLOSED"] * 2
        assert isinstance(actor.session.log.end_error, SessionClosed)
        assert (actor.session.closed, actor.session.closed_at_s) == (True, 5.0)
        with pytest.raises(SessionClosed):
            await actor.submit("c")
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
    assert actor.store.calls.count("close_session") == 1


async def test_a_session_is_closed_although_whoever_closed_it_went_away(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await stage.begun.wait()
        held = store.hold("end_turn")
        closing = asyncio.create_task(actor.session.close(5.0))
        await store.reached["end_turn"].wait()
        await gone(closing)
        with pytest.raises(SessionClosed):
            await actor.submit("b")
        again = asyncio.create_task(actor.session.close(6.0))
        held.set()
        await again
        assert actor.session.closed_at_s == 5.0
        assert isinstance(actor.session.log.end_error, SessionClosed)


async def test_a_turn_runs_although_whoever_submitted_it_went_away() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold("accept_turn")
        submitting = asyncio.create_task(actor.submit("a"))
        await store.reached["accept_turn"].wait()
        await gone(submitting)
        again = asyncio.create_task(actor.submit("a"))
        held.set()
        assert not await again
        assert await actor.until_ended("a") == ["turn_completed"]
    assert store.calls == ["accept_turn", "commit_turn"]


async def test_a_waiting_turn_is_cancelled_although_whoever_cancelled_it_went_away(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        held = store.hold("end_turn")
        cancelling = asyncio.create_task(actor.session.cancel("b"))
        await store.reached["end_turn"].wait()
        await gone(cancelling)
        held.set()
        stage.go.set()
        assert await actor.until_ended("a", "b") == ["turn_completed", "turn_cancelled"]


async def test_an_interrupt_takes_effect_although_whoever_sent_it_went_away(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        held = store.hold("end_turn")
        interrupting = asyncio.create_task(actor.submit("c", on_busy=ON_BUSY_INTERRUPT))
        await store.reached["end_turn"].wait()
        await gone(interrupting)
        held.set()
        stage.go.set()
        await actor.until_told(lambda: "turn_completed c" in actor.kinds)
        assert await actor.until_ended("a", "b", "c") == ["turn_cancelled", "turn_cancelled", "turn_completed"]


class Broken(Exception):
    """A store's fault."""


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn", "end_turn", "close_session"])
@pytest.mark.parametrize("error", [Broken(), StaleEpoch()], ids=["fault", "refusal"])
async def test_a_session_whose_store_fails_fails_and_nobody_is_told_what_is_not_stored(
    stage: Stage, method: str, error: Exception
) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        store.errors[method] = error
        match method:
            case "accept_turn":
                with pytest.raises(type(error)):
                    await actor.submit("c")
            case "commit_turn":
                stage.go.set()
            case "end_turn":
                with pytest.raises(type(error)):
                    await actor.session.cancel("b")
            case "close_session":
                with pytest.raises(type(error)):
                    await actor.session.close(0.0)
        await asyncio.wait([actor.runner])
        assert actor.failure is error
        assert store.calls[-1] == method  # nothing is written after it
        assert not any("completed" in line or "accepted c" in line for line in actor.kinds)
        with pytest.raises(type(error)):
            await actor.submit("d")
        actor.session.drop(NodeDraining())  # as a host does
        with pytest.raises(NodeDraining):
            await actor.submit("d")


async def test_a_store_that_fails_while_a_turn_runs_ends_the_turn_at_once(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        store.errors["end_turn"] = Broken()
        with pytest.raises(Broken):
            await actor.session.cancel("b")
        with pytest.raises(Broken):
            await cancel
        await asyncio.wait([actor.runner])


async def test_a_drain_lets_the_accepted_turns_end_and_takes_no_more(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        draining = asyncio.ensure_future(actor.drain(PATIENCE_S))
        await stage.begun.wait()
        refused = asyncio.ensure_future(actor.submit("c"))
        assert not await actor.submit("a")
        assert not refused.done()  # told now, whoever asks would only be led back here
        stage.go.set()
        await draining
        with pytest.raises(NodeDraining):
            await refused
        assert await actor.until_ended("a", "b") == ["turn_completed"] * 2
        assert isinstance(actor.session.log.end_error, NodeDraining)


async def test_a_drain_waits_for_a_turn_that_is_being_accepted() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold("accept_turn")
        submitting = asyncio.ensure_future(actor.submit("a"))
        await store.reached["accept_turn"].wait()
        draining = asyncio.ensure_future(actor.drain(PATIENCE_S))
        await asyncio.sleep(0)
        held.set()
        assert await submitting
        await draining
        assert actor.session.turn("a").state == TURN_STATE_COMPLETED


async def test_a_drain_cancels_what_does_not_end_in_time(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        await actor.drain(0.01)
        ended = [event.turn_cancelled.reason for event in actor.events() if event.HasField("turn_cancelled")]
        assert ended == ["NODE_DRAINING"] * 2
        assert isinstance(actor.session.log.end_error, NodeDraining)


async def test_a_turn_that_is_accepted_behind_a_drains_deadline_does_not_begin(stage: Stage) -> None:
    """Its words would have numbers that the last checkpoint has given to the next owner."""
    store = RecordingStore(durable=True)
    accept, given, go = store.hold("accept_turn"), asyncio.Event(), asyncio.Event()
    last_seq = 0

    async def release(_owned: Ownership, _head_seq: int | None, reserved_seq: int, _told: object) -> int:
        nonlocal last_seq
        last_seq = reserved_seq
        given.set()
        await go.wait()
        return 1

    store.release = release  # type: ignore[assignment,method-assign]
    async with acting(stage.held, store=store) as actor:
        submitting = asyncio.ensure_future(actor.submit("late"))
        await store.reached["accept_turn"].wait()
        draining = asyncio.ensure_future(actor.drain(0.0))
        await asyncio.wait([draining], timeout=0.02)
        accept.set()
        assert await submitting
        await given.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert (actor.session.log.head_seq, stage.runs) == (last_seq, 0)
        go.set()
        await draining


async def test_an_idle_session_is_drained_at_once() -> None:
    async with acting(quick) as actor:
        await actor.submit("a")
        await actor.until_ended("a")
        await actor.drain(0.0)
        assert isinstance(actor.session.log.end_error, NodeDraining)
        assert actor.session.turn("a").state == TURN_STATE_COMPLETED


async def test_a_drop_ends_every_wait_at_once(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        draining = asyncio.ensure_future(actor.drain(PATIENCE_S))
        actor.store.hold("end_turn")
        calls = [
            asyncio.ensure_future(actor.session.cancel("a")),
            asyncio.ensure_future(actor.submit("c")),
            asyncio.ensure_future(actor.session.close(0.0)),
        ]
        await asyncio.sleep(0)
        actor.drop()
        actor.store.held["end_turn"].set()
        head_seq = actor.session.log.head_seq
        assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [NodeFenced] * 3
        await draining
        assert actor.session.log.head_seq == head_seq
        assert isinstance(actor.session.log.end_error, NodeFenced)


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn"])
async def test_what_the_store_answers_after_a_drop_is_not_told(method: str) -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold(method)
        submitting = asyncio.ensure_future(actor.submit("a"))
        await store.reached[method].wait()
        kinds = actor.kinds
        actor.session.drop(NodeFenced())
        held.set()
        if method == "accept_turn":
            with pytest.raises(NodeFenced):
                await submitting
        await asyncio.wait([actor.runner], timeout=0.01)
        assert actor.kinds == kinds


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn"])
async def test_what_the_store_answers_past_the_fence_is_not_told(method: str) -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold(method)
        submitting = asyncio.ensure_future(actor.submit("a"))
        await store.reached[method].wait()
        kinds = actor.kinds
        actor.clock.advance(TTL_S)
        held.set()
        await asyncio.wait([submitting if method == "accept_turn" else actor.runner])
        assert actor.kinds == kinds


async def test_past_the_fence_nothing_is_started_stored_or_told(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        calls, kinds = list(actor.store.calls), actor.kinds
        actor.clock.advance(TTL_S)
        for call in (actor.submit("c"), actor.session.cancel("b"), actor.session.close(0.0)):
            with pytest.raises(NodeFenced):
                await call
        stage.go.set()
        await asyncio.wait([actor.runner])
        assert isinstance(actor.failure, NodeFenced)
        assert (actor.store.calls, actor.kinds, stage.runs) == (calls, kinds, 1)


async def test_a_turn_that_waits_for_a_place_can_be_cancelled(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        slots = actor.session.slots
        for _ in range(10):
            await slots.acquire(actor.session.ref.tenant)
        await actor.submit("a")
        while actor.session.running_turn_id is None:  # noqa: ASYNC110  nothing tells that a turn waits for its place
            await asyncio.sleep(0)
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
        assert "turn_started a" not in actor.kinds
        for _ in range(10):
            slots.release()
        stage.go.set()
        await actor.submit("b")
        assert await actor.until_ended("b") == ["turn_completed"]


async def test_where_too_many_turns_wait_for_a_place_a_new_one_is_refused_and_nothing_else(stage: Stage) -> None:
    stage.go.set()
    async with acting(stage.held) as actor:
        await actor.submit("known")
        await actor.until_ended("known")
        slots = actor.session.slots
        for _ in range(10):
            await slots.acquire(actor.session.ref.tenant)
        waiting = [asyncio.create_task(slots.acquire(actor.session.ref.tenant)) for _ in range(9)]
        await actor.submit("a")
        while slots.waiting < 10:  # noqa: ASYNC110  nothing tells that a turn waits for its place
            await asyncio.sleep(0)
        assert await actor.submit("b")  # its session's mailbox bounds what waits behind another
        assert (await actor.session.cancel("b")).state == TURN_STATE_CANCELLED
        assert (await actor.session.cancel("a")).state == TURN_STATE_CANCELLED
        waiting.append(asyncio.create_task(slots.acquire(actor.session.ref.tenant)))
        while slots.waiting < 10:  # noqa: ASYNC110
            await asyncio.sleep(0)
        stored = len(actor.store.turns)
        for on_busy in (ON_BUSY_ENQUEUE, ON_BUSY_REJECT, ON_BUSY_INTERRUPT):
            with pytest.raises(TooManyTurns):
                await actor.submit("x", on_busy=on_busy)
        assert len(actor.store.turns) == stored
        assert not await actor.submit("known")  # told again, not run
        for _ in range(20):
            slots.release()
        await asyncio.gather(*waiting)
        await actor.submit("x")
        assert await actor.until_ended("x") == ["turn_completed"]


async def test_the_end_of_a_turn_can_be_told_again_when_the_log_has_dropped_it() -> None:
    async def talking(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "x" * int(ctx.input_text)

    async with acting(talking) as actor:
        session: Session = actor.session
        session.log._max_bytes = 64 << 10
        await actor.submit("a", "1")
        await actor.until_ended("a")
        first = session.turn("a")
        assert session.missing.of(first) == []
        await actor.submit("b", str(1 << 18))
        await actor.until_ended("b")
        gap, outcome = session.missing.of(first)
        assert (gap.first_seq, gap.seq, gap.HasField("gap")) == (first.accepted_seq, outcome.seq - 1, True)
        assert (outcome.turn_id, kind_of(outcome), outcome.seq) == ("a", "turn_completed", first.end_seq)
        assert session.missing.of(session.turn("b")) == []
