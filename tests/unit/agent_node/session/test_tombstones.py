"""A closed session of a volatile store keeps its id until its tombstone expires."""

from pathlib import Path

import pytest

from agent_node.session.tombstones import expire_owned
from agentring.errors import (
    SessionClosed,
    SessionNotFound,
)
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from harness.hosts import OTHER, REF, hosting, text_input


async def test_a_closed_session_rests_until_its_tombstone_expires(tmp_path: Path) -> None:
    async with hosting(tmp_path, tombstone_s=100) as node:
        session = await node.host.open(REF, "held")
        await session.submit("a", text_input(), ON_BUSY_ENQUEUE)
        await node.stage.begun.wait()
        await node.host.close(session)
        assert session.turn("a").state == session_pb2.TURN_STATE_CANCELLED
        assert isinstance(session.log.end_error, SessionClosed)
        with pytest.raises(SessionClosed):
            await node.host.open(REF, "held")
        await expire_owned(node.host, node.clock, node.tombstone_s)
        assert node.claims.released == []


async def test_a_closed_session_expires_when_its_tombstone_is_due_and_its_id_can_be_used_again(
    tmp_path: Path,
) -> None:
    async with hosting(tmp_path, tombstone_s=5) as node:
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
        reopened = await node.host.open(REF, "failing")
        assert (reopened.claim.epoch, reopened.closed, reopened.stored.turns_completed) == (3, False, 0)
