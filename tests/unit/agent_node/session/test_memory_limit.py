"""What a node does where it takes more memory than it may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from agent_node.session.memory_limit import MemoryLimit, resident_bytes
from agent_node.session.passivation import IdleEvictor
from harness.clock import FakeClock

LIMIT = 100


class Idle:
    """Sessions that can be evicted, each of which takes so many bytes."""

    def __init__(self, sessions: int, session_bytes: int) -> None:
        self.sessions = sessions
        self.session_bytes = session_bytes
        self.others_bytes = 0

    def taken_bytes(self) -> int:
        return self.others_bytes + self.sessions * self.session_bytes

    async def evict(self) -> bool:
        if self.sessions == 0:
            return False
        self.sessions -= 1
        return True


@asynccontextmanager
async def kept(
    idle: Idle, limit_bytes: int = LIMIT, *, durable: bool = True
) -> AsyncIterator[tuple[MemoryLimit, FakeClock]]:
    clock = FakeClock()
    limit = MemoryLimit(limit_bytes, idle.taken_bytes)
    keeping = asyncio.create_task(limit.keep(clock, cast(IdleEvictor, idle) if durable else None))
    yield limit, clock
    keeping.cancel()
    await asyncio.wait([keeping])


async def look(clock: FakeClock) -> None:
    await clock.next_due_s()
    clock.advance(1.0)
    await clock.next_due_s()


async def test_idle_sessions_go_until_it_takes_less() -> None:
    idle = Idle(sessions=15, session_bytes=10)
    async with kept(idle) as (limit, clock):
        await look(clock)
        assert (idle.sessions, limit.is_exceeded) == (10, False)


async def test_a_look_passivates_a_part_of_them_and_the_next_goes_on() -> None:
    idle = Idle(sessions=30, session_bytes=10)
    async with kept(idle) as (limit, clock):
        await look(clock)
        assert (idle.sessions, limit.is_exceeded) == (22, True)
        await look(clock)
        await look(clock)
        assert (idle.sessions, limit.is_exceeded) == (10, False)


async def test_where_none_is_idle_it_stays_exceeded_until_others_go() -> None:
    idle = Idle(sessions=0, session_bytes=10)
    idle.others_bytes = 200
    async with kept(idle) as (limit, clock):
        await look(clock)
        assert limit.is_exceeded
        idle.others_bytes = 50
        await look(clock)
        assert not limit.is_exceeded


@pytest.mark.parametrize(("limit_bytes", "durable", "exceeded"), [(LIMIT, False, True), (0, True, False)])
async def test_a_volatile_node_passivates_nothing_and_one_without_a_limit_does_not_look(
    limit_bytes: int, durable: bool, exceeded: bool
) -> None:
    idle = Idle(sessions=30, session_bytes=10)
    async with kept(idle, limit_bytes, durable=durable) as (limit, clock):
        if limit_bytes:
            await look(clock)
        else:
            await asyncio.sleep(0)
        assert (idle.sessions, limit.is_exceeded) == (30, exceeded)


def test_what_this_process_takes_is_known() -> None:
    before = resident_bytes()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert resident_bytes() - before > 32 << 20
