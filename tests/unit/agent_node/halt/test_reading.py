"""How a node keeps up with what is halted: looks and the watch in any order, and the fence of one that cannot look."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest

from agent_node.halt.reading import HaltReader
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import KeyValue, RangeResult, WatchBatch
from agentring.cluster.halts import Halt, HaltScope
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason
from agentring.cluster.records import encode
from agentring.errors import StoreUnavailable
from agentring.ids import Revision
from harness.clock import FakeClock
from harness.halts import EVERYTHING, halted, session, tenant
from harness.premises import TTL_S, lease_on

KEYS = Keys("c")


def kv(halt: Halt) -> KeyValue:
    return KeyValue(halt.scope.key(KEYS), encode(halt.to_record()), Revision(1), Revision(1), 0)


class Etcd:
    """Answers as the test says."""

    def __init__(self) -> None:
        self.life = 0
        self.state: RangeResult | None = RangeResult(Revision(5), ())
        """None: it does not answer."""
        self.batches: asyncio.Queue[WatchBatch] = asyncio.Queue()
        self.looks = 0
        self.taken = asyncio.Event()

    async def range(self, prefix: str) -> RangeResult:
        assert prefix == KEYS.halts
        self.looks += 1
        if self.state is None:
            raise EtcdUnavailable(outcome_unknown=False)
        return self.state

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        assert (prefix, from_revision) == (KEYS.halts, 6)
        while True:
            batch = await self.batches.get()
            yield batch
            self.taken.set()


class Store:
    """A HaltStore in memory."""

    def __init__(self, *halts: Halt) -> None:
        self.halts = list(halts)
        self.answers = True

    async def read(self) -> Sequence[Halt]:
        if not self.answers:
            raise StoreUnavailable
        return list(self.halts)

    async def keep(self, halt: Halt) -> None:
        self.halts.append(halt)

    async def remove(self, scope: HaltScope) -> None:
        self.halts = [halt for halt in self.halts if halt.scope != scope]


def reader(etcd: Etcd, clock: FakeClock, store: Store | None = None) -> HaltReader:
    return HaltReader(cast(Any, etcd), KEYS, clock, store)


async def test_the_watch_is_followed_and_an_older_look_changes_nothing() -> None:
    etcd, one, other = Etcd(), halted(session()), halted(tenant())
    halts = reader(etcd, FakeClock())
    running = asyncio.ensure_future(halts.run())
    etcd.batches.put_nowait(WatchBatch(Revision(7), (kv(one),), ()))
    etcd.batches.put_nowait(WatchBatch(Revision(8), (kv(other),), ()))
    etcd.batches.put_nowait(WatchBatch(Revision(9), (), (one.scope.key(KEYS),)))
    await etcd.taken.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert halts.halts.all == [other]
    await halts.read()  # of revision 5
    assert halts.halts.all == [other]
    etcd.life, etcd.state = 1, RangeResult(Revision(2), (kv(one),))  # a new generation counts anew
    await halts.read()
    assert halts.halts.all == [one]
    running.cancel()
    await asyncio.wait([running])


async def test_what_etcd_lost_is_still_halted_by_the_store() -> None:
    etcd, halt = Etcd(), halted()
    halts = reader(etcd, FakeClock(), Store(halt))
    etcd.state = RangeResult(Revision(6), (kv(halt),))
    await halts.read()
    etcd.state = RangeResult(Revision(7), ())
    await halts.read()
    assert halts.halts.all == [halt]
    await halts.remove(EVERYTHING)
    await halts.read()
    assert halts.halts.current is None


async def test_a_node_serves_once_both_were_read() -> None:
    etcd, clock, store = Etcd(), FakeClock(), Store(halted())
    etcd.state, store.answers = None, False
    halts, lease = reader(etcd, clock, store), lease_on(clock)
    beginning = asyncio.ensure_future(halts.begin(lease))
    for is_answered in (False, True):
        await clock.next_due_s()
        assert not beginning.done()
        etcd.state, store.answers = RangeResult(Revision(6), ()), is_answered
        clock.advance(0.25)
    await beginning
    assert halts.halts.current is not None
    assert lease.reason is None


@pytest.mark.parametrize("beginning", [True, False])
async def test_a_node_that_cannot_look_is_fenced_a_renewal_after_its_lease_would_be(beginning: bool) -> None:
    etcd, clock = Etcd(), FakeClock()
    halts, lease = reader(etcd, clock), lease_on(clock)
    etcd.state = None
    keeping = asyncio.ensure_future(halts.begin(lease) if beginning else halts.keep(lease))
    began_s = clock.now_s()
    while lease.reason is None:
        await clock.next_due_s()
        clock.advance(0.25)
        await asyncio.sleep(0)
    assert lease.reason is FenceReason.HALTS_UNREAD
    patience_s = TTL_S - lease.margin_s + TTL_S / 4
    assert patience_s <= clock.now_s() - began_s <= patience_s + 0.5
    keeping.cancel()
    await asyncio.wait([keeping])


async def test_a_look_a_renewal_finds_what_the_watch_lost() -> None:
    etcd, clock, halt = Etcd(), FakeClock(), halted()
    halts, lease = reader(etcd, clock), lease_on(clock)
    keeping = asyncio.ensure_future(halts.keep(lease))
    await clock.next_due_s()
    etcd.state = RangeResult(Revision(6), (kv(halt),))
    clock.advance(TTL_S / 4)
    await clock.next_due_s()
    assert halts.halts.all == [halt]
    assert etcd.looks == 1
    keeping.cancel()
    await asyncio.wait([keeping])
