"""How a draining node's sessions leave it."""

import asyncio
import itertools
from pathlib import Path

import pytest
import structlog

from agent_node.session.session import Session
from agentring.errors import (
    InternalError,
    NodeDraining,
)
from agentring.ids import parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from harness.hosts import OTHER, REF, hosting, text_input


async def keep_submitting(session: Session) -> None:
    for number in itertools.count():
        await session.submit(f"more{number}", text_input(), ON_BUSY_ENQUEUE)
        await session.cancel(f"more{number}")


async def test_a_drain_lets_turns_end_and_cancels_those_that_do_not(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        ending, hanging = parse_session("", "ending"), parse_session("", "hanging")
        sessions = [await node.host.open(ref, "held") for ref in (ending, hanging)]
        await sessions[1].submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        await node.host.drain(0.01)
        assert sessions[1].turn("a").state == session_pb2.TURN_STATE_CANCELLED
        assert all(isinstance(session.log.end_error, NodeDraining) for session in sessions)
        with pytest.raises(NodeDraining):
            await node.host.open(REF, "held")
        with pytest.raises(NodeDraining):
            await sessions[0].submit("b", text_input(), ON_BUSY_ENQUEUE)


async def test_a_call_for_a_session_that_leaves_waits_and_is_then_led_on(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
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
    async with hosting(tmp_path) as node:
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
    async with hosting(tmp_path) as node:
        node.store.durable = True
        first, second = [await node.host.open(ref, "held") for ref in (REF, OTHER)]
        release = node.store.hold("release")
        draining = asyncio.ensure_future(node.host.drain(5.0))
        await node.store.reached["release"].wait()
        assert await node.host.open(OTHER, "held") is second
        await second.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        release.set()
        while first.log.end_error is None:  # noqa: ASYNC110  no stream is attached that could learn it
            await asyncio.sleep(0)
        assert isinstance(first.log.end_error, NodeDraining)
        submitting = asyncio.ensure_future(keep_submitting(second))
        await asyncio.sleep(0.01)
        node.stage.go.set()  # its turn to go has come: the running one may end, and no more
        with pytest.raises(NodeDraining):
            await submitting
        await draining
        assert second.turn("a").state == session_pb2.TURN_STATE_COMPLETED
        assert [claim.ref for claim in node.claims.released] == [REF, OTHER]


async def test_when_the_time_for_turns_is_over_no_session_waits_for_others_to_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_node.session.hand_off.LEAVING_AT_ONCE", 1)
    async with hosting(tmp_path) as node:
        node.store.durable = True
        sessions = [await node.host.open(ref, "held") for ref in (REF, OTHER)]
        node.store.hold("release")
        draining = asyncio.ensure_future(node.host.drain(0.02))
        while node.store.calls.count("release") < len(sessions):  # noqa: ASYNC110  it was called already
            await asyncio.sleep(0.001)
        node.store.held["release"].set()
        await draining
        assert len(node.claims.released) == len(sessions)


async def test_a_drain_of_many_survives_one_whose_store_fails(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        refs = [parse_session("", f"s{i}") for i in range(3)]
        sessions = [await node.host.open(ref, "held") for ref in refs]
        for session in sessions:
            await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        node.store.errors["end_turn"] = OSError("no store")
        draining = asyncio.ensure_future(node.host.drain(0.01))
        await draining
        assert all(isinstance(session.log.end_error, NodeDraining | InternalError) for session in sessions)
