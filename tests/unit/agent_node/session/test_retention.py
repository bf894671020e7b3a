"""When idle sessions are given up, and when not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from agent_node.session.host import Host
from agent_node.session.retention import passivate_idle
from harness.clock import PATIENCE_S, FakeClock

IDLE_S = 8.0


class Idle:
    """A session, as far as passivation looks at it."""

    def __init__(self) -> None:
        self.is_idle = True
        self.log = SimpleNamespace(head_seq=1)


class Idling:
    """A host with one session that is idle, and what becomes of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.session = Idle()
        self.sessions = [self.session]
        self.claims_are_made = True

    async def passivate(self, session: Any) -> None:
        self.sessions.remove(session)

    async def look(self) -> None:
        """The time of the next look has come."""
        async with asyncio.timeout(PATIENCE_S):
            self.clock.advance_to(await self.clock.next_due_s())
            await self.clock.next_due_s()


@asynccontextmanager
async def idling() -> AsyncIterator[Idling]:
    host = Idling()
    passivating = asyncio.create_task(
        passivate_idle(cast(Host, host), host.clock, IDLE_S, lambda: host.claims_are_made)
    )
    try:
        yield host
    finally:
        passivating.cancel()
        await asyncio.wait([passivating])


async def test_a_session_is_given_up_once_it_was_idle_for_the_time() -> None:
    async with idling() as host:
        for _ in range(4):
            await host.look()
        assert host.sessions == [host.session]
        await host.look()
        assert host.sessions == []
        assert host.clock.now_s() <= 1.25 * IDLE_S + FakeClock().now_s()


async def test_one_that_told_something_meanwhile_stays() -> None:
    async with idling() as host:
        for _ in range(4):
            await host.look()
        host.session.log.head_seq += 1
        for _ in range(4):
            await host.look()
        assert host.sessions == [host.session]


async def test_nothing_is_given_up_while_etcd_takes_no_claims() -> None:
    """Nobody could take it up again: without space for its transactions that may last for hours."""
    async with idling() as host:
        host.claims_are_made = False
        for _ in range(20):
            await host.look()
        assert host.sessions == [host.session]
        host.claims_are_made = True
        for _ in range(5):
            await host.look()
        assert host.sessions == []
