"""What a session accepts, in which order it stores and publishes, and that its turns run one at a time."""

import asyncio

import pytest

from agentring.errors import (
    AgentMismatch,
    MailboxFull,
    MalformedRequest,
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
    TURN_STATE_COMPLETED,
    TURN_STATE_FAILED,
    TURN_STATE_RUNNING,
)
from harness.premises import Stage
from harness.sessions import acting, quick
from harness.stores import RecordingStore
from harness.streams import assert_gapless


async def test_a_turn_is_stored_before_it_is_published() -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        calls: list[tuple[str, list[str]]] = []
        store.watch = lambda method: calls.append((method, actor.kinds))
        assert await actor.submit("a")
        await actor.until_ended("a")
    assert calls == [
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
        order = [line for line in actor.kinds if "started" in line or "completed" in line]
        assert order == [f"turn_{what} {turn_id}" for turn_id in "abc" for what in ("started", "completed")]
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
        stage.go.set()
        assert await actor.until_ended("d") == ["turn_completed"]
        assert [kind for kind in actor.kinds if kind.startswith("turn_started")] == ["turn_started a", "turn_started d"]
        accepted = actor.kinds.index("turn_accepted d")
        assert all(actor.kinds.index(f"turn_cancelled {turn_id}") < accepted for turn_id in "abc")


async def test_what_is_no_json_or_bound_to_another_agent_is_refused() -> None:
    async with acting(quick) as actor:
        turn_input = session_pb2.Input()
        turn_input.data["x"] = float("nan")
        with pytest.raises(MalformedRequest):
            await actor.session.submit("a", turn_input, ON_BUSY_ENQUEUE)
        with pytest.raises(AgentMismatch):
            actor.session.check_agent("other")
        actor.session.check_agent("")
        actor.session.check_agent("agent")
    assert actor.store.calls == []
