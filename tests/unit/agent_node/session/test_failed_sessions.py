"""Sessions that fail, or that the fence drops: others go on, and streams end with the reason."""

import asyncio
from pathlib import Path

import pytest

from agentring.errors import (
    AgentringError,
    CoordinatorUnavailable,
    InternalError,
    NodeFenced,
    StaleEpoch,
    StoreUnavailable,
)
from agentring.ids import parse_session
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from harness.hosts import OTHER, REF, hosting, text_input, until_ended
from harness.premises import TTL_S


@pytest.mark.parametrize("broken", [{"commit_turn"}, {"commit_turn", "forget_session"}], ids=["turn", "everything"])
async def test_a_session_that_fails_is_given_up_and_harms_no_other(tmp_path: Path, broken: set[str]) -> None:
    async with hosting(tmp_path) as node:
        failing, fine = await node.host.open(REF, "held"), await node.host.open(OTHER, "held")
        for session in (failing, fine):
            await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
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
        await third.submit("a", text_input(), ON_BUSY_ENQUEUE)
        assert await until_ended(third, "a") == "turn_completed"
        if broken == {"commit_turn"}:
            reopened = await node.host.open(REF, "held")
            assert (reopened.claim.epoch, reopened.stored.turns_completed) == (4, 0)


async def test_a_claim_that_cannot_be_released_is_left_to_the_lease(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "held")
        node.claims.release_error = CoordinatorUnavailable()
        node.store.errors["accept_turn"] = OSError("no store")
        with pytest.raises(OSError, match="no store"):
            await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.until_forgotten(REF)
        node.claims.release_error, node.store.errors = None, {}
        assert (await node.host.open(REF, "held")).claim.epoch == 2


async def test_an_agent_that_raises_what_is_no_exception_harms_no_other(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "unusual")
        for turn_id in "ab":
            await session.submit(turn_id, text_input(), ON_BUSY_ENQUEUE)
            assert await until_ended(session, turn_id) == "turn_failed"


async def test_streams_end_with_the_fence_also_where_a_turn_met_it_first(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        node.clock.advance(TTL_S)
        woken = asyncio.Event()
        session.log.subscribe(woken)
        node.stage.go.set()
        await woken.wait()
        assert isinstance(session.log.end_error, NodeFenced)
        assert node.claims.released == []


async def test_dropped_sessions_end_at_once_with_their_turns(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        sessions = [await node.host.open(ref, "held") for ref in (REF, OTHER)]
        for session in sessions:
            await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
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


@pytest.mark.parametrize("error", [StoreUnavailable(), StaleEpoch()])
async def test_a_write_that_fails_drops_that_session_alone_and_says_why(tmp_path: Path, error: AgentringError) -> None:
    async with hosting(tmp_path) as node:
        session, other = await node.host.open(REF, "held"), await node.host.open(OTHER, "held")
        node.store.errors["accept_turn"] = error
        with pytest.raises(type(error)):
            await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.until_forgotten(REF)
        await node.claims.gave_back.wait()
        assert session.log.end_error is error
        assert [claim.ref for claim in node.claims.released] == [REF]
        assert await node.host.find(OTHER) is other
