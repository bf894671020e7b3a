"""Which idle sessions are passivated, by time and on a full node, and when none is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from agent_node.session.host import Host
from agent_node.session.passivation import AT_ONCE, LEAST_IDLE_S, IdleCollector, IdleEvictor, passivate_by_time
from agentring.errors import StoreUnavailable
from harness.clock import PATIENCE_S, FakeClock

NOW_S = 1_000.0
IDLE_S = 8.0


class Full:
    """A host as far as its sessions are passivated: they have numbers, and are idle for so many seconds."""

    def __init__(self, tasks: asyncio.TaskGroup, *idle_s: float) -> None:
        self.now_s = NOW_S
        self.claims_are_made = True
        self.sessions = [self._session(name, each_s) for name, each_s in enumerate(idle_s)]
        self.failing: set[int] = set()
        self.go = asyncio.Event()
        self.go.set()
        self.collector = IdleCollector(
            cast(Host, self), claims_are_made=lambda: self.claims_are_made, now_s=lambda: self.now_s
        )
        self.evictor = IdleEvictor(self.collector, tasks)

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
        assert await host.evictor.evict()
        assert host.names == [0, 2, 3]
        assert await host.evictor.evict()
        assert host.names == [0, 2]


async def test_sessions_in_use_and_those_used_a_moment_ago_stay() -> None:
    async with full(60, LEAST_IDLE_S / 2) as host:
        host.sessions[0].is_idle = False
        assert not await host.evictor.evict()
        assert host.names == [0, 1]


async def test_a_node_that_found_none_looks_again_only_after_a_second() -> None:
    async with full(60) as host:
        host.sessions[0].is_idle = False
        assert not await host.evictor.evict()
        host.sessions[0].is_idle = True
        host.now_s += LEAST_IDLE_S / 2
        assert not await host.evictor.evict()
        host.now_s += LEAST_IDLE_S
        assert await host.evictor.evict()


async def test_a_large_node_passivates_many_at_once() -> None:
    async with full(*range(10, 10 + 128)) as host:
        assert await host.evictor.evict()
        assert host.names == list(range(125))
    async with full(*range(10, 10 + 100 * AT_ONCE)) as host:
        assert await host.evictor.evict()
        assert len(host.names) == 99 * AT_ONCE


async def test_calls_that_come_meanwhile_share_the_outcome() -> None:
    async with full(*range(10, 20)) as host:
        host.go.clear()
        evictions = [asyncio.create_task(host.evictor.evict()) for _ in range(5)]
        await asyncio.sleep(0)
        host.go.set()
        assert await asyncio.gather(*evictions) == [True] * 5
        assert len(host.names) == 9


async def test_nothing_is_evicted_while_etcd_takes_no_claims() -> None:
    async with full(60) as host:
        host.claims_are_made = False
        assert not await host.evictor.evict()
        assert host.names == [0]


async def test_a_session_that_cannot_be_passivated_does_not_count() -> None:
    async with full(60) as host:
        host.failing = {0}
        assert not await host.evictor.evict()


class Looks:
    """The looks of the trigger by time at a host, one after the other."""

    def __init__(self, host: Full) -> None:
        self._host = host
        self._clock = FakeClock()
        self._passivating = asyncio.create_task(passivate_by_time(host.collector, self._clock, IDLE_S))

    async def pass_time(self, looks: int = 1) -> None:
        for _ in range(looks):
            due_s = await self._clock.next_due_s()
            self._host.now_s += due_s - self._clock.now_s()
            self._clock.advance_to(due_s)
            await self._clock.next_due_s()

    async def stop(self) -> None:
        self._passivating.cancel()
        await asyncio.wait([self._passivating])


@asynccontextmanager
async def looked_at(*idle_s: float) -> AsyncIterator[tuple[Full, Looks]]:
    async with full(*idle_s) as host:
        looks = Looks(host)
        yield host, looks
        await looks.stop()


async def test_a_session_is_passivated_once_it_was_idle_for_the_time() -> None:
    async with looked_at(0.0, 1.0) as (host, looks):
        await looks.pass_time(3)
        assert host.names == [0, 1]
        await looks.pass_time()
        assert host.names == []
        assert host.now_s <= NOW_S + 1.25 * IDLE_S


async def test_a_session_in_which_something_happened_meanwhile_stays() -> None:
    async with looked_at(0.0, 0.0) as (host, looks):
        await looks.pass_time(3)
        host.sessions[0].log.quiet_since_s = host.now_s
        host.sessions[1].is_idle = False
        await looks.pass_time(3)
        assert host.names == [0, 1]


async def test_nothing_is_passivated_while_etcd_takes_no_claims() -> None:
    """No node could activate it again: without space for its transactions that may last for hours."""
    async with looked_at(0.0) as (host, looks):
        host.claims_are_made = False
        await looks.pass_time(20)
        assert host.names == [0]
        host.claims_are_made = True
        await looks.pass_time()
        assert host.names == []


async def test_all_that_are_due_go_however_many_they_are() -> None:
    async with looked_at(*[IDLE_S] * (3 * AT_ONCE), 0.0) as (host, looks):
        host.failing = {1}
        await looks.pass_time()
        assert host.names == [1, 3 * AT_ONCE]
