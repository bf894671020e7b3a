"""A session's next owner: which turns it runs again, what it publishes first, and which numbers it never uses."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import Completed
from agent_node.run.run_input import RunEvents, TurnInput
from agent_node.store import Ownership
from agentring.agent import AgentEvent, Context
from agentring.errors import ResumeOffsetExpired, StoreUnavailable
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_CANCELLED, TURN_STATE_COMPLETED, Event
from harness.premises import Stage
from harness.sessions import EPOCH, REF, Actor, acting, kind_of
from harness.stores import RecordingStore

NEXT = Epoch(EPOCH + 1)
RANGE = 100


async def attempts(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Says which attempt it is, and how many turns came before."""
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield f"{ctx.attempt} after {len(ctx.history)}"


def text_of(actor: Actor, turn_id: str) -> str:
    return "".join(event.text_delta.text for event in actor.events() if event.turn_id == turn_id)


def since(actor: Actor) -> list[Event]:
    """What the log has; not that it has nothing of what was before."""
    before, *events = actor.events()
    assert kind_of(before) == "gap"
    assert before.seq == actor.session.log.oldest_seq - 1
    return events


def coverage(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.first_seq or event.seq, event.seq) for event in events]


async def test_a_turn_that_was_running_runs_again_and_one_that_waited_runs_for_the_first_time() -> None:
    stage, store = Stage(), RecordingStore(seq_range=RANGE)
    async with acting(stage.held, store=store) as lost:
        for turn_id in ("done", "cut", "waits"):
            await lost.submit(turn_id, turn_id)
            if turn_id == "done":
                stage.go.set()
                await lost.until_ended("done")
                stage.go.clear()
        await lost.until(lambda: "text_delta cut" in lost.kinds)
        head_seq, (done,) = lost.session.log.head_seq, (e for e in lost.events() if kind_of(e) == "turn_completed")
    async with acting(attempts, store=store, epoch=NEXT) as next_owner:
        assert await next_owner.until_ended("cut", "waits") == ["turn_completed", "turn_completed"]
        first, *rest = since(next_owner)
        assert (kind_of(first), first.turn_id, first.attempt) == ("attempt_restarted", "cut", 2)
        assert first.attempt_restarted.reason == "NODE_DRAINED"  # the volatile store knows of no other
        assert coverage([first]) == [(done.seq + 1, RANGE + 1)]
        assert first.seq > head_seq
        assert [seq for _, seq in coverage(rest)] == list(range(RANGE + 2, RANGE + 2 + len(rest)))
        assert (text_of(next_owner, "cut"), text_of(next_owner, "waits")) == ("2 after 1", "1 after 2")
        assert next_owner.session.stored.state_json == '{"turns": 3}'
        assert next_owner.session.missing.of(next_owner.session.turn("done"))[-1] == done


async def test_where_no_turn_was_interrupted_nothing_was_lost_and_the_next_event_covers_the_numbers_that_rest() -> None:
    store = RecordingStore(seq_range=RANGE)
    async with acting(attempts, store=store) as lost:
        await lost.submit("a")
        await lost.until_ended("a")
        head_seq = lost.session.log.head_seq
    async with acting(attempts, store=store, epoch=NEXT) as next_owner:
        assert since(next_owner) == []
        log = next_owner.session.log
        assert (log.head_seq, log.used_seq) == (head_seq, RANGE)
        assert log.start_after(head_seq) == head_seq
        # An end is published under a later number than it is stored with where something else came meanwhile.
        assert log.start_after(RANGE) == RANGE
        with pytest.raises(ResumeOffsetExpired):
            log.start_after(RANGE + 1)
        assert not await next_owner.submit("a")
        assert await next_owner.submit("b")
        accepted = since(next_owner)[0]
        assert (kind_of(accepted), coverage([accepted])) == ("turn_accepted", [(head_seq + 1, RANGE + 1)])


async def test_a_checkpoint_gives_the_unused_numbers_back_and_no_event_says_so() -> None:
    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(attempts, store=store) as actor:
        await actor.submit("a")
        await actor.until_ended("a")
        head_seq = actor.session.log.head_seq
        given_back: list[tuple[int | None, int]] = []

        async def release(_owned: object, head_seq: int | None, reserved_seq: int, _received: object) -> int:
            given_back.append((head_seq, reserved_seq))
            return 0

        store.release = release  # type: ignore[assignment,method-assign]  # what it is asked is the point
        assert await actor.session.passivate()
        assert given_back == [(head_seq, head_seq)]


async def test_a_session_that_works_or_is_read_is_not_passivated() -> None:
    stage = Stage()
    async with acting(stage.held, store=RecordingStore(durable=True)) as actor:
        reader = asyncio.Event()
        actor.session.log.subscribe(reader)
        assert not await actor.session.passivate()
        actor.session.log.unsubscribe(reader)
        await actor.submit("a")
        assert not await actor.session.passivate()
        stage.go.set()
        await actor.until_ended("a")
        assert await actor.session.passivate()
        assert actor.store.calls[-1] == "release"


async def test_a_waiting_turns_end_that_was_overtaken_by_text_is_stored_again() -> None:
    stage, store = Stage(), RecordingStore()
    text_came = asyncio.Event()

    async def talking(ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.input_text == "talk":
            stage.begun.set()
            await text_came.wait()
            yield "meanwhile"
            await stage.go.wait()

    async with acting(talking, store=store) as actor:
        await actor.submit("a", "talk")
        await actor.submit("b")
        await stage.begun.wait()
        held = store.hold("end_turn")
        cancelling = asyncio.create_task(actor.session.cancel("b"))
        await store.reached["end_turn"].wait()
        text_came.set()
        await actor.until(lambda: "text_delta a" in actor.kinds)
        held.set()
        ended = await cancelling
        stage.go.set()
        await actor.until_ended("a")
        assert ended.end_seq is not None
        by_id = [(turn.turn_id, turn.state, turn.end_seq) for turn in store.turns if turn.end_seq]
        end_seq = actor.session.turn("a").end_seq
        assert by_id == [
            ("b", TURN_STATE_CANCELLED, ended.end_seq - 1),
            ("b", TURN_STATE_CANCELLED, ended.end_seq),
            ("a", TURN_STATE_COMPLETED, end_seq),
        ]


async def test_numbers_are_extended_before_they_run_out() -> None:
    store = RecordingStore(seq_range=RANGE)

    async def long(_ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(3 * RANGE):
            await asyncio.sleep(0)
            yield "x"

    async with acting(long, store=store) as actor:
        await actor.submit("a")
        assert await actor.until_ended("a") == ["turn_completed"]
        assert "extend_range" in store.calls
        found = await store.memory.activate(Ownership(REF, NEXT, "n2/1"), "agent")
        assert found.log_seq >= actor.session.log.head_seq


async def test_a_store_that_gives_no_more_numbers_ends_the_session_before_one_is_used_twice() -> None:
    store = RecordingStore(seq_range=RANGE)
    store.errors["extend_range"] = StoreUnavailable()

    async def endless(_ctx: Context) -> AsyncIterator[AgentEvent]:
        while True:
            yield "x"

    async with acting(endless, store=store) as actor:
        await actor.submit("a")
        await asyncio.wait([actor.runner])
        assert isinstance(actor.failure, StoreUnavailable)
        assert actor.session.log.head_seq <= RANGE


@pytest.mark.parametrize("durable", [False, True])
async def test_a_drain_leaves_what_it_cuts_off_to_the_next_owner_of_a_durable_session(durable: bool) -> None:
    stage, store = Stage(), RecordingStore(durable=durable)
    async with acting(stage.held, store=store) as actor:
        for turn_id in ("a", "b"):
            await actor.submit(turn_id)
        await stage.begun.wait()
        await actor.drain(0.01)
        ended = [turn.turn_id for turn in store.turns if turn.end_seq]
        assert sorted(ended) == ([] if durable else ["a", "b"])
        assert ("release" in store.calls) is durable


async def test_a_turn_that_takes_every_node_with_it_fails_in_the_end() -> None:
    """Here each owner is lost in the midst of it; the turn after it is not kept waiting for ever."""
    stage, store = Stage(), RecordingStore(seq_range=RANGE)
    async with acting(stage.held, store=store) as first:
        await first.submit("deadly")
        await first.submit("after")
        await first.until(lambda: "text_delta deadly" in first.kinds)
        allowed = first.env.limits.max_attempts
    for attempt in range(2, allowed + 1):
        async with acting(stage.held, store=store, epoch=Epoch(EPOCH + attempt)) as owner:
            await owner.until(lambda owner=owner: "text_delta deadly" in owner.kinds)  # type: ignore[misc]
    runs = stage.runs
    stage.go.set()
    async with acting(stage.held, store=store, epoch=Epoch(EPOCH + allowed + 1)) as last:
        assert await last.until_ended("deadly", "after") == ["turn_failed", "turn_completed"]
        (failed,) = (event.turn_failed for event in last.events() if kind_of(event) == "turn_failed")
    assert failed.reason == "ATTEMPTS_EXHAUSTED"
    assert (runs, stage.runs) == (allowed, allowed + 1)


class RecordingChildRuns:
    """Runs nothing, and remembers what it should have run."""

    def __init__(self) -> None:
        self.turns: list[TurnInput] = []

    async def run(self, env: RunEnvironment, turn: TurnInput, log: RunEvents, epoch: Epoch) -> Completed:
        self.turns.append(turn)
        return Completed("", 0, turn.state_json, None)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "gave it up"])
async def test_a_turn_whose_owner_was_lost_runs_in_a_child_process_and_no_other_does(lost: bool) -> None:
    stage, store, child_runs = Stage(), RecordingStore(), RecordingChildRuns()
    async with acting(stage.held, store=store) as first:
        await first.submit("cut")
        await first.submit("after")
        await first.until(lambda: "text_delta cut" in first.kinds)
    stage.go.set()
    async with acting(stage.held, store=store, epoch=Epoch(EPOCH + 1), lost=lost, child_runs=child_runs) as second:
        assert await second.until_ended("cut", "after") == ["turn_completed"] * 2
    assert [(turn.turn_id, turn.attempt, turn.deaths) for turn in child_runs.turns] == [("cut", 2, 1)] * lost
    assert [turn.deaths for turn in store.turns if turn.turn_id == "cut"][-1] == lost
    assert [turn.deaths for turn in store.turns if turn.turn_id == "after"][-1] == 0


async def test_deaths_add_up_and_outlive_an_owner_that_gives_the_session_up() -> None:
    stage, store = Stage(), RecordingStore()
    deaths = []
    for attempt, lost in enumerate((False, True, False, True)):
        async with acting(stage.held, store=store, epoch=Epoch(EPOCH + attempt), lost=lost) as owner:
            if not attempt:
                await owner.submit("cut")
            await owner.until(lambda owner=owner: "text_delta cut" in owner.kinds)  # type: ignore[misc]
            deaths.append(owner.session.turn("cut").deaths)
    assert deaths == [0, 1, 1, 2]


async def test_a_turn_that_waited_for_an_answer_did_not_end_its_owner() -> None:
    async def asking(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield (await ctx.ask("really?")).text

    store = RecordingStore()
    for attempt, lost in enumerate((False, True)):
        async with acting(asking, store=store, epoch=Epoch(EPOCH + attempt), lost=lost) as owner:
            if not attempt:
                await owner.submit("asks")
            await owner.until(lambda owner=owner: "input_required asks" in owner.kinds)  # type: ignore[misc]
            assert owner.session.turn("asks").deaths == 0


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "volatile"])
async def test_a_volatile_store_counts_a_death_for_a_turn_that_is_retried(durable: bool) -> None:
    stage, child_runs = Stage(), RecordingChildRuns()
    stage.go.set()
    async with acting(stage.held, store=RecordingStore(durable=durable), child_runs=child_runs) as owner:
        await owner.session.submit("new", session_pb2.Input(), session_pb2.ON_BUSY_ENQUEUE)
        await owner.session.submit("again", session_pb2.Input(), session_pb2.ON_BUSY_ENQUEUE, retry=True)
        await owner.until_ended("new", "again")
    assert [turn.turn_id for turn in child_runs.turns] == ([] if durable else ["again"])
