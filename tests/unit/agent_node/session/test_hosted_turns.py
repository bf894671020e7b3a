"""Turns of a session on its node: one at a time, each ended once."""

from pathlib import Path

import pytest

from agentring.errors import (
    MailboxFull,
    NodeFenced,
    SessionNotFound,
    TurnIdReused,
    TurnInProgress,
)
from agentring.ids import parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE, ON_BUSY_INTERRUPT, ON_BUSY_REJECT
from harness.hosts import REF, hosting, text_input, until_ended
from harness.premises import TTL_S


async def test_turns_run_one_at_a_time_in_order_and_keep_their_state(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await session.submit("b", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        assert (session.running_turn_id, len(session.mailbox), node.stage.runs) == ("a", 1, 1)
        node.stage.go.set()
        assert [await until_ended(session, "a"), await until_ended(session, "b")] == ["turn_completed"] * 2
        assert session.stored.state_json == '{"turns": 2}'
        assert [past.output_text for past in session.stored.history] == ["begun done"] * 2


async def test_the_same_turn_id_never_runs_twice(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "held")
        node.stage.go.set()
        assert (await session.submit("a", text_input(), ON_BUSY_ENQUEUE))[1]
        await until_ended(session, "a")
        assert not (await session.submit("a", text_input(), ON_BUSY_ENQUEUE))[1]
        with pytest.raises(TurnIdReused):
            await session.submit("a", text_input("else"), ON_BUSY_ENQUEUE)
        assert node.stage.runs == 1


async def test_a_failing_turn_leaves_the_state_and_the_session_usable(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "failing")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        assert await until_ended(session, "a") == "turn_failed"
        assert session.stored.state_json == "{}"
        await session.submit("b", text_input(), ON_BUSY_ENQUEUE)
        assert await until_ended(session, "b") == "turn_failed"


async def test_a_busy_session_rejects_fills_up_and_can_be_interrupted(tmp_path: Path) -> None:
    async with hosting(tmp_path, mailbox_size=1) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        with pytest.raises(TurnInProgress):
            await session.submit("x", text_input(), ON_BUSY_REJECT)
        await session.submit("b", text_input(), ON_BUSY_ENQUEUE)
        with pytest.raises(MailboxFull):
            await session.submit("x", text_input(), ON_BUSY_ENQUEUE)
        await session.submit("c", text_input(), ON_BUSY_INTERRUPT)
        node.stage.go.set()
        assert [await until_ended(session, each) for each in "abc"] == [
            "turn_cancelled",
            "turn_cancelled",
            "turn_completed",
        ]
        assert session.stored.state_json == '{"turns": 1}'


async def test_a_cancel_ends_a_waiting_and_a_running_turn_and_changes_no_ended_one(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await session.submit("b", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        assert (await session.cancel("b")).state == session_pb2.TURN_STATE_CANCELLED
        assert (await session.cancel("a")).state == session_pb2.TURN_STATE_CANCELLED
        node.stage.go.set()
        await session.submit("c", text_input(), ON_BUSY_REJECT)
        assert await until_ended(session, "c") == "turn_completed"
        assert (await session.cancel("c")).state == session_pb2.TURN_STATE_COMPLETED


async def test_past_the_fence_nothing_is_accepted_committed_or_published(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        head_seq = session.log.head_seq
        node.clock.advance(TTL_S)
        node.stage.go.set()
        with pytest.raises(NodeFenced):
            await node.host.open(parse_session("", "new"), "held")
        with pytest.raises(NodeFenced):
            await session.submit("b", text_input(), ON_BUSY_ENQUEUE)
        node.host.drop_all(NodeFenced())
        assert session.log.head_seq == head_seq
        assert session.stored.turns_completed == 0
        with pytest.raises((NodeFenced, SessionNotFound)):
            await node.host.find(REF)
