"""Which sessions a full node gives up for new ones, and when it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from agent_node.session.host import Host
from agent_node.session.passivation import AT_ONCE, LEAST_IDLE_S, IdleEvictor
from agentring.errors import StoreUnavailable
from harness.clock import PATIENCE_S

NOW_S = 1_000.0


class Full:
    """A host as far as room is made on it: its sessions by their names, idle for so many seconds."""

    def __init__(self, tasks: asyncio.TaskGroup, *idle_s: float) -> None:
        self.now_s = NOW_S
        self.claims_are_made = True
        self.sessions = [self._session(name, each_s) for name, each_s in enumerate(idle_s)]
        self.failing: set[int] = set()
        self.go = asyncio.Event()
        self.go.set()
        self.room = IdleEvictor(
            cast(Host, self), tasks, claims_are_made=lambda: self.claims_are_made, now_s=lambda: self.now_s
        )

    def _session(self, name: int, idle_s: float) -> Any:
        return SimpleNamespace(ref=name, is_idle=True, log=SimpleNamespace(quiet_since_s=NOW_S - idle_s))

    def __contains__(self, ref: int) -> bool:
        return ref in self.names

    @property
    def names(self) -> list[int]:
        return [session.ref for session in self.sessions]

    async def passivate(self, session: Any) -> None:
        await self.go.wait()
        if session.ref in self.failing:
            raise StoreUnavailable
        self.sessions.remove(session)


@asynccontextmanager
async def full(*idle_s: float) -> AsyncIterator[Full]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        yield Full(tasks, *idle_s)


async def test_the_session_that_was_idle_longest_goes_first() -> None:
    async with full(5, 30, 2, 20) as host:
        assert await host.room.make()
        assert host.names == [0, 2, 3]
        assert await host.room.make()
        assert host.names == [0, 2]


async def test_sessions_in_use_and_those_used_a_moment_ago_stay() -> None:
    async with full(60, LEAST_IDLE_S / 2) as host:
        host.sessions[0].is_idle = False
        assert not await host.room.make()
        assert host.names == [0, 1]


async def test_a_node_that_found_none_looks_again_only_after_a_second() -> None:
    async with full(60) as host:
        host.sessions[0].is_idle = False
        assert not await host.room.make()
        host.sessions[0].is_idle = True
        host.now_s += LEAST_IDLE_S / 2
        assert not await host.room.make()
        host.now_s += LEAST_IDLE_S
        assert await host.room.make()


async def test_a_large_node_makes_room_for_many_at_once() -> None:
    async with full(*range(10, 10 + 128)) as host:
        assert await host.room.make()
        assert host.names == list(range(125))
    async with full(*range(10, 10 + 100 * AT_ONCE)) as host:
        assert await host.room.make()
        assert len(host.names) == 99 * AT_ONCE


async def test_whoever_asks_meanwhile_waits_for_the_same() -> None:
    async with full(*range(10, 20)) as host:
        host.go.clear()
        made = [asyncio.create_task(host.room.make()) for _ in range(5)]
        await asyncio.sleep(0)
        host.go.set()
        assert await asyncio.gather(*made) == [True] * 5
        assert len(host.names) == 9


async def test_nothing_is_given_up_while_etcd_takes_no_claims() -> None:
    async with full(60) as host:
        host.claims_are_made = False
        assert not await host.room.make()
        assert host.names == [0]


async def test_a_session_that_cannot_be_given_up_is_no_room() -> None:
    async with full(60) as host:
        host.failing = {0}
        assert not await host.room.make()
