"""Sessions on their node: claimed once, one turn at a time, each turn ended once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import structlog

from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.session.session import Session
from agent_node.session.tombstones import expire_owned
from agent_node.settings import NodeSettings
from agent_node.store import Ownership
from agentring.agent import AgentEvent, Context
from agentring.errors import (
    AgentMismatch,
    AgentNotFound,
    AgentRequired,
    AgentringError,
    CoordinatorUnavailable,
    InternalError,
    MailboxFull,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    NotOwner,
    SessionClosed,
    SessionNotFound,
    StaleEpoch,
    StoreUnavailable,
    TurnIdReused,
    TurnInProgress,
)
from agentring.ids import Epoch, SessionRef, parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE, ON_BUSY_INTERRUPT, ON_BUSY_REJECT
from harness.clock import FakeClock
from harness.premises import TTL_S, FakeClaims, Stage, environment
from harness.stores import RecordingStore

REF = parse_session("", "s")


OTHER = parse_session("", "other")


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


class Node:
    """A host and all that it stands on."""

    def __init__(self, tasks: asyncio.TaskGroup, tmp_path: Path, **settings: float) -> None:
        self.clock = FakeClock()
        self.claims = FakeClaims()
        self.stage = Stage()
        self.env = environment(self.clock)
        self.tombstone_s = settings.get("tombstone_s", 0.0)
        self.max_sessions = settings.get("max_sessions", 100)
        self.asked_for_room = asyncio.Event()
        self.room = asyncio.Event()
        """Cleared: whether there is room is not known before it is set."""
        self.room.set()
        self.store = RecordingStore()
        self.agents = {"held": self.stage.held, "failing": self.stage.failing, "unusual": self.unusual}
        self.host = Host(
            self.env,
            self.claims.as_claims,
            self.store,
            self.agents,
            self.clock,
            NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path, **settings}),
            RunSlots(10, 10),
            tasks,
            self.takes_new,
        )

    async def takes_new(self, sessions: Callable[[], int], _agent: str) -> bool:
        self.asked_for_room.set()
        await self.room.wait()
        return sessions() < self.max_sessions

    async def unusual(self, _ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "words"
        raise Unusual

    async def until_forgotten(self, ref: SessionRef) -> None:
        """Returns once the host does not own the session any more."""
        with suppress(SessionNotFound):
            while await self.host.find(ref):  # noqa: ASYNC110  nothing tells that a session was given up
                await asyncio.sleep(0)


@asynccontextmanager
async def running(tmp_path: Path, **settings: float) -> AsyncIterator[Node]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        node = Node(tasks, tmp_path, **settings)
        yield node
        node.host.drop_all(NodeFenced())


def words(text: str = "hi") -> session_pb2.Input:
    return session_pb2.Input(text=text)


async def submit_again_and_again(session: Session) -> None:
    for number in itertools.count():
        await session.submit(f"again{number}", words(), ON_BUSY_ENQUEUE)
        await session.cancel(f"again{number}")


async def until_ended(session: Session, turn_id: str) -> str:
    """The kind of the turn's last event."""
    woken = asyncio.Event()
    session.log.subscribe(woken)
    while (end_seq := session.turn(turn_id).end_seq) is None:
        woken.clear()
        await woken.wait()
    session.log.unsubscribe(woken)
    _, (event,) = session.log.read(end_seq - 1, end_seq)
    return str(event.WhichOneof("body"))


async def test_concurrent_opens_claim_once(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        sessions = await asyncio.gather(*(node.host.open(REF, "held") for _ in range(10)))
        assert all(session is sessions[0] for session in sessions)
        assert node.claims.claimed == [REF]
        assert await node.host.find(REF) is sessions[0]
        with pytest.raises(AgentMismatch):
            await node.host.open(REF, "failing")


async def test_a_failed_claim_reaches_its_callers_and_the_next_open_claims_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.claim_error = CoordinatorUnavailable()
        with pytest.raises(CoordinatorUnavailable):
            await node.host.open(REF, "held")
        node.claims.claim_error = None
        assert (await node.host.open(REF, "held")).claim.epoch == 1


@pytest.mark.parametrize(("agent", "error"), [("", AgentRequired), ("nobodys", AgentNotFound)])
async def test_a_refusal_never_hides_another_nodes_session(tmp_path: Path, agent: str, error: type[Exception]) -> None:
    async with running(tmp_path) as node:
        with pytest.raises(error):
            await node.host.open(REF, agent)
        node.claims.held_elsewhere = NotOwner("n2", "n2:1", 5)
        with pytest.raises(NotOwner):
            await node.host.open(REF, agent)
        with pytest.raises(NotOwner):
            await node.host.find(REF)
        assert node.claims.claimed == []


async def test_a_full_node_refuses_new_sessions_and_keeps_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, max_sessions=1) as node:
        first = await node.host.open(REF, "held")
        with pytest.raises(NodeOverloaded):
            await node.host.open(parse_session("", "other"), "held")
        assert await node.host.open(REF, "") is first


async def test_a_call_that_looked_for_room_while_another_activated_the_session_finds_it(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.room.clear()
        looking = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.asked_for_room.wait()
        node.room.set()
        first = await node.host.open(REF, "held")
        assert await looking is first
        assert node.claims.claimed == [REF]


async def test_who_is_refused_takes_no_claim_from_a_session_that_comes_up_meanwhile(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        refused = asyncio.ensure_future(node.host.open(REF, "absent"))
        await node.claims.asked.wait()
        node.claims.asked.clear()
        opened = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        node.claims.go.set()
        with pytest.raises(AgentNotFound):
            await refused
        assert await opened is await node.host.find(REF)
        assert node.claims.disclaimed == []


async def test_turns_run_one_at_a_time_in_order_and_keep_their_state(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await session.submit("b", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        assert (session.running_turn_id, len(session.mailbox), node.stage.runs) == ("a", 1, 1)
        node.stage.go.set()
        assert [await until_ended(session, "a"), await until_ended(session, "b")] == ["turn_completed"] * 2
        assert session.stored.state_json == '{"turns": 2}'
        assert [past.output_text for past in session.stored.history] == ["begun done"] * 2


async def test_the_same_turn_id_never_runs_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "held")
        node.stage.go.set()
        assert (await session.submit("a", words(), ON_BUSY_ENQUEUE))[1]
        await until_ended(session, "a")
        assert not (await session.submit("a", words(), ON_BUSY_ENQUEUE))[1]
        with pytest.raises(TurnIdReused):
            await session.submit("a", words("else"), ON_BUSY_ENQUEUE)
        assert node.stage.runs == 1


async def test_a_failing_turn_leaves_the_state_and_the_session_usable(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "failing")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        assert await until_ended(session, "a") == "turn_failed"
        assert session.stored.state_json == "{}"
        await session.submit("b", words(), ON_BUSY_ENQUEUE)
        assert await until_ended(session, "b") == "turn_failed"


async def test_a_busy_session_rejects_fills_up_and_can_be_interrupted(tmp_path: Path) -> None:
    async with running(tmp_path, mailbox_size=1) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        with pytest.raises(TurnInProgress):
            await session.submit("x", words(), ON_BUSY_REJECT)
        await session.submit("b", words(), ON_BUSY_ENQUEUE)
        with pytest.raises(MailboxFull):
            await session.submit("x", words(), ON_BUSY_ENQUEUE)
        await session.submit("c", words(), ON_BUSY_INTERRUPT)
        node.stage.go.set()
        assert [await until_ended(session, each) for each in "abc"] == [
            "turn_cancelled",
            "turn_cancelled",
            "turn_completed",
        ]
        assert session.stored.state_json == '{"turns": 1}'


async def test_a_cancel_ends_a_waiting_and_a_running_turn_and_changes_no_ended_one(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await session.submit("b", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        assert (await session.cancel("b")).state == session_pb2.TURN_STATE_CANCELLED
        assert (await session.cancel("a")).state == session_pb2.TURN_STATE_CANCELLED
        node.stage.go.set()
        await session.submit("c", words(), ON_BUSY_REJECT)
        assert await until_ended(session, "c") == "turn_completed"
        assert (await session.cancel("c")).state == session_pb2.TURN_STATE_COMPLETED


async def test_a_closed_session_rests_until_its_tombstone_expires(tmp_path: Path) -> None:
    async with running(tmp_path, tombstone_s=100) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        await node.host.close(session)
        assert session.turn("a").state == session_pb2.TURN_STATE_CANCELLED
        assert isinstance(session.log.end_error, SessionClosed)
        with pytest.raises(SessionClosed):
            await node.host.open(REF, "held")
        await expire_owned(node.host, node.clock, node.tombstone_s)
        assert node.claims.released == []


async def test_a_drain_lets_turns_end_and_cancels_those_that_do_not(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        ending, hanging = parse_session("", "ending"), parse_session("", "hanging")
        sessions = [await node.host.open(ref, "held") for ref in (ending, hanging)]
        await sessions[1].submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        await node.host.drain(0.01)
        assert sessions[1].turn("a").state == session_pb2.TURN_STATE_CANCELLED
        assert all(isinstance(session.log.end_error, NodeDraining) for session in sessions)
        with pytest.raises(NodeDraining):
            await node.host.open(REF, "held")
        with pytest.raises(NodeDraining):
            await sessions[0].submit("b", words(), ON_BUSY_ENQUEUE)


async def test_who_comes_for_a_session_on_its_way_out_waits_and_is_then_led_on(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.store.durable = True
        session = await node.host.open(REF, "held")
        release = node.store.hold("release")
        draining = asyncio.ensure_future(node.host.drain(5.0))
        await node.store.reached["release"].wait()
        coming = asyncio.ensure_future(node.host.open(REF, "held"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not coming.done()
        assert session.log.end_error is None  # nor is anybody sent away who would only come back here
        release.set()
        with pytest.raises(NodeDraining):
            await coming
        assert [claim.ref for claim in node.claims.released] == [REF]
        await draining


async def test_a_session_that_is_being_passivated_when_a_drain_begins_leaves_once(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.store.durable = True
        session = await node.host.open(REF, "held")
        release = node.store.hold("release")
        passivating = asyncio.ensure_future(node.host.passivate(session))
        await node.store.reached["release"].wait()
        with structlog.testing.capture_logs() as logged:
            draining = asyncio.ensure_future(node.host.drain(5.0))
            await asyncio.sleep(0)
            release.set()
            await asyncio.gather(draining, passivating)
        assert logged == []
        assert node.store.calls.count("release") == 1
        assert [claim.ref for claim in node.claims.released] == [REF]


async def test_of_many_sessions_those_that_are_not_on_their_way_out_yet_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_node.session.hand_off.LEAVING_AT_ONCE", 1)
    async with running(tmp_path) as node:
        node.store.durable = True
        first, second = [await node.host.open(ref, "held") for ref in (REF, OTHER)]
        release = node.store.hold("release")
        draining = asyncio.ensure_future(node.host.drain(5.0))
        await node.store.reached["release"].wait()
        assert await node.host.open(OTHER, "held") is second
        await second.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        release.set()
        while first.log.end_error is None:  # noqa: ASYNC110  no one is attached who could be told
            await asyncio.sleep(0)
        assert isinstance(first.log.end_error, NodeDraining)
        again = asyncio.ensure_future(submit_again_and_again(second))
        await asyncio.sleep(0.01)
        node.stage.go.set()  # its turn to go has come: the running one may end, and no more
        with pytest.raises(NodeDraining):
            await again
        await draining
        assert second.turn("a").state == session_pb2.TURN_STATE_COMPLETED
        assert [claim.ref for claim in node.claims.released] == [REF, OTHER]


async def test_when_the_time_for_turns_is_over_nobody_waits_for_others_to_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_node.session.hand_off.LEAVING_AT_ONCE", 1)
    async with running(tmp_path) as node:
        node.store.durable = True
        sessions = [await node.host.open(ref, "held") for ref in (REF, OTHER)]
        node.store.hold("release")
        draining = asyncio.ensure_future(node.host.drain(0.02))
        while node.store.calls.count("release") < len(sessions):  # noqa: ASYNC110  it was called already
            await asyncio.sleep(0.001)
        node.store.held["release"].set()
        await draining
        assert len(node.claims.released) == len(sessions)


async def test_past_the_fence_nothing_is_accepted_committed_or_told(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        head_seq = session.log.head_seq
        node.clock.advance(TTL_S)
        node.stage.go.set()
        with pytest.raises(NodeFenced):
            await node.host.open(parse_session("", "new"), "held")
        with pytest.raises(NodeFenced):
            await session.submit("b", words(), ON_BUSY_ENQUEUE)
        node.host.drop_all(NodeFenced())
        assert session.log.head_seq == head_seq
        assert session.stored.turns_completed == 0
        with pytest.raises((NodeFenced, SessionNotFound)):
            await node.host.find(REF)


async def test_a_closed_session_expires_when_its_tombstone_is_due_and_its_id_can_be_used_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, tombstone_s=5) as node:
        closed, other = await node.host.open(REF, "held"), await node.host.open(OTHER, "held")
        node.clock.advance(1)
        await node.host.close(closed)
        node.clock.advance(4.9)
        await expire_owned(node.host, node.clock, node.tombstone_s)
        assert await node.host.find(REF) is closed
        node.clock.advance(0.1)
        await expire_owned(node.host, node.clock, node.tombstone_s)
        assert node.claims.released == [closed.claim]
        with pytest.raises(SessionNotFound):
            await node.host.find(REF)
        assert await node.host.find(OTHER) is other
        again = await node.host.open(REF, "failing")
        assert (again.claim.epoch, again.closed, again.stored.turns_completed) == (3, False, 0)


async def test_a_caller_that_goes_away_does_not_end_the_activation(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        opening.cancel()
        await asyncio.wait([opening])
        node.claims.go.set()
        session = await node.host.open(REF, "held")
        assert node.claims.claimed == [REF]
        assert await node.host.find(REF) is session


@pytest.mark.parametrize("wrong", ["", "nobodys"])
async def test_what_is_wrong_with_one_caller_is_not_told_to_another(tmp_path: Path, wrong: str) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        opens = [asyncio.ensure_future(node.host.open(REF, agent)) for agent in (wrong, "held")]
        await node.claims.asked.wait()
        node.claims.go.set()
        refused, opened = await asyncio.gather(*opens, return_exceptions=True)
        assert isinstance(refused, AgentRequired | AgentNotFound)
        assert isinstance(opened, Session)
        if not wrong:
            assert await node.host.open(REF, wrong) is opened


async def test_concurrent_activations_keep_to_the_limit(tmp_path: Path) -> None:
    async with running(tmp_path, max_sessions=3) as node:
        refs = [parse_session("", f"s{i}") for i in range(10)]
        opened = await asyncio.gather(*(node.host.open(ref, "held") for ref in refs), return_exceptions=True)
        assert [type(each) for each in opened] == [Session] * 3 + [NodeOverloaded] * 7
        assert len(node.host) == 3


@pytest.mark.parametrize("fault", ["raises", "refuses", "agent gone"])
async def test_an_activation_that_fails_gives_its_claim_back(tmp_path: Path, fault: str) -> None:
    async with running(tmp_path) as node:
        match fault:
            case "raises":
                node.store.errors["activate"] = OSError("no store")
            case "refuses":
                node.store.errors["activate"] = StaleEpoch()
            case "agent gone":
                await node.store.memory.activate(Ownership(REF, Epoch(0), "n1/1"), "removed")
        with pytest.raises((OSError, StaleEpoch, AgentNotFound)):
            await node.host.open(REF, "held")
        assert [claim.ref for claim in node.claims.released] == [REF]
        assert len(node.host) == 0
        with pytest.raises(SessionNotFound):
            await node.host.find(REF)
        node.store.errors.clear()
        assert (await node.host.open(OTHER, "held")).claim.epoch == 2


async def test_an_activation_under_way_when_a_drain_begins_gives_its_claim_back(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        draining = asyncio.ensure_future(node.host.drain(1.0))
        await asyncio.sleep(0)
        assert not draining.done()  # nothing may be claimed once it is over
        node.claims.go.set()
        with pytest.raises(NodeDraining):
            await opening
        await draining
        assert [claim.ref for claim in node.claims.released] == [REF]
        assert len(node.host) == 0


async def test_an_activation_under_way_at_the_fence_makes_no_session(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        node.clock.advance(TTL_S)
        node.host.drop_all(NodeFenced())
        node.claims.go.set()
        with pytest.raises(NodeFenced):
            await opening
        assert (len(node.host), node.claims.released) == (0, [])


@pytest.mark.parametrize("broken", [{"commit_turn"}, {"commit_turn", "forget_session"}], ids=["turn", "everything"])
async def test_a_session_that_fails_is_given_up_and_harms_no_other(tmp_path: Path, broken: set[str]) -> None:
    async with running(tmp_path) as node:
        failing, fine = await node.host.open(REF, "held"), await node.host.open(OTHER, "held")
        for session in (failing, fine):
            await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        node.store.errors = {method: OSError("no store") for method in broken}
        node.stage.go.set()
        await asyncio.gather(node.until_forgotten(REF), node.until_forgotten(OTHER))
        assert isinstance(failing.log.end_error, InternalError)
        node.store.errors.clear()
        while len(node.claims.released) < 2:  # noqa: ASYNC110  the last step of giving up
            await asyncio.sleep(0)
        assert {claim.epoch for claim in node.claims.released} == {1, 2}
        third = await node.host.open(parse_session("", "third"), "held")
        await third.submit("a", words(), ON_BUSY_ENQUEUE)
        assert await until_ended(third, "a") == "turn_completed"
        if broken == {"commit_turn"}:
            again = await node.host.open(REF, "held")
            assert (again.claim.epoch, again.stored.turns_completed) == (4, 0)


async def test_a_claim_that_cannot_be_given_back_is_left_to_the_lease(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "held")
        node.claims.release_error = CoordinatorUnavailable()
        node.store.errors["accept_turn"] = OSError("no store")
        with pytest.raises(OSError, match="no store"):
            await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.until_forgotten(REF)
        node.claims.release_error, node.store.errors = None, {}
        assert (await node.host.open(REF, "held")).claim.epoch == 2


async def test_an_agent_that_raises_what_is_no_exception_harms_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "unusual")
        for turn_id in "ab":
            await session.submit(turn_id, words(), ON_BUSY_ENQUEUE)
            assert await until_ended(session, turn_id) == "turn_failed"


async def test_a_drain_of_many_survives_one_whose_store_fails(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        refs = [parse_session("", f"s{i}") for i in range(3)]
        sessions = [await node.host.open(ref, "held") for ref in refs]
        for session in sessions:
            await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        node.store.errors["end_turn"] = OSError("no store")
        draining = asyncio.ensure_future(node.host.drain(0.01))
        await draining
        assert all(isinstance(session.log.end_error, NodeDraining | InternalError) for session in sessions)


async def test_streams_are_told_of_the_fence_also_where_a_turn_met_it_first(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        node.clock.advance(TTL_S)
        woken = asyncio.Event()
        session.log.subscribe(woken)
        node.stage.go.set()
        await woken.wait()
        assert isinstance(session.log.end_error, NodeFenced)
        assert node.claims.released == []


async def test_dropped_sessions_are_gone_at_once_with_their_turns(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        sessions = [await node.host.open(ref, "held") for ref in (REF, OTHER)]
        for session in sessions:
            await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        assert node.host.running_turns == 2
        calls = list(node.store.calls)
        node.host.drop_all(NodeFenced())
        assert (len(node.host), node.host.running_turns) == (0, 0)
        assert all(isinstance(session.log.end_error, NodeFenced) for session in sessions)
        for session in sessions:
            with pytest.raises(NodeFenced):
                await session.cancel("a")
        assert node.store.calls == calls


async def test_a_claim_that_took_until_after_the_fence_raises_no_epoch_in_the_store(tmp_path: Path) -> None:
    """The process was frozen while the claim's answer was on its way."""
    async with running(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        node.clock.advance(TTL_S)
        node.claims.go.set()
        with pytest.raises(NodeFenced):
            await opening
        assert node.store.calls == []
        assert node.claims.released == []


async def test_a_raise_of_unknown_outcome_puts_the_claim_again_and_raises_a_fresh_epoch(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.store.errors["activate"] = StoreUnavailable()
        opening = asyncio.create_task(node.host.open(REF, "held"))
        await until_claimed(node, 2)  # the second raise has not begun
        node.store.errors.clear()
        assert (await opening).claim.epoch == 2
        assert (node.claims.claimed, node.claims.released) == ([REF, REF], [])


async def test_a_store_that_stays_away_is_told_and_the_claim_given_back(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.store.errors["activate"] = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            await node.host.open(REF, "held")
        assert [claim.epoch for claim in node.claims.released] == [2]


@pytest.mark.parametrize("error", [StoreUnavailable(), StaleEpoch()])
async def test_a_write_that_fails_drops_that_session_alone_and_says_why(tmp_path: Path, error: AgentringError) -> None:
    async with running(tmp_path) as node:
        session, other = await node.host.open(REF, "held"), await node.host.open(OTHER, "held")
        node.store.errors["accept_turn"] = error
        with pytest.raises(type(error)):
            await session.submit("a", words(), ON_BUSY_ENQUEUE)
        await node.until_forgotten(REF)
        assert session.log.end_error is error
        assert [claim.ref for claim in node.claims.released] == [REF]
        assert await node.host.find(OTHER) is other


async def until_claimed(node: Node, times: int) -> None:
    while len(node.claims.claimed) < times:  # noqa: ASYNC110  the fake tells nobody
        await asyncio.sleep(0)


async def test_a_session_that_comes_up_while_another_call_looks_for_its_agent_is_not_activated_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as node:
        looking, go = asyncio.Event(), asyncio.Event()

        async def stored_agent(_ref: object) -> str:
            looking.set()
            await go.wait()
            return "held"

        node.host._stored_agent = stored_agent  # type: ignore[assignment,method-assign]  # a store slow to answer
        unnamed = asyncio.ensure_future(node.host.open(REF, ""))
        await looking.wait()
        session = await node.host.open(REF, "held")
        go.set()
        assert await unnamed is session
        assert node.claims.claimed == [REF]
