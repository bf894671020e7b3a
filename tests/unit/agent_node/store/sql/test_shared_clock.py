"""The clock that the nodes of a store share, tried with any number of nodes that come, go, stand still and are slow."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent_node.store.database.counted import CountedDriver
from agent_node.store.sql.clock_schema import store_clock
from agent_node.store.sql.shared_clock import MAX_STEP_S, TICK_S, SharedClock
from agentring.errors import StoreReplaced, StoreUnavailable
from harness.clock import FakeClock

T = TypeVar("T")
BEGIN_NS = 1_700_000_000 * 10**9
LOOK_S = st.floats(0.0, 20.0)


class Database:
    """A Driver in one thread, in which every transaction takes time before and after it lands."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.before_s = self.after_s = 0.0
        self.answers = True
        self._engine = sa.create_engine("sqlite://")
        self.connection = self._engine.connect()
        store_clock.create(self.connection)
        self.set(BEGIN_NS)

    def set(self, now_ns: int) -> None:
        self.connection.execute(sa.delete(store_clock))
        self.connection.execute(sa.insert(store_clock).values(one=1, now_ns=now_ns, moved_by=""))

    @property
    def mark_ns(self) -> int:
        return int(self.connection.execute(sa.select(store_clock.c.now_ns)).scalar_one())

    @property
    def file(self) -> str:
        return ""

    async def transact(
        self,
        work: Callable[[sa.Connection], T],
        *,
        retry: bool,
        at_once: Callable[[sa.Connection], T | None] | None = None,
    ) -> T:
        self.clock.advance(self.before_s)
        done = work(self.connection)
        self.clock.advance(self.after_s)
        if not self.answers:
            raise StoreUnavailable  # though it has landed
        return done

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        return await self.transact(work, retry=True)

    async def close(self) -> None:
        self.connection.close()
        self._engine.dispose()


def now(doing: Coroutine[Any, Any, T]) -> T:
    """What waits for nothing, carried out."""
    try:
        doing.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


class Nodes(RuleBasedStateMachine):
    """Real time is the fake clock's; every node's boot clock runs with it."""

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:
        self.clock = FakeClock(0.0)
        self.database = Database(self.clock)
        self.names = 0
        self.nodes: list[SharedClock] = []
        self.stamps: list[tuple[int, float]] = []
        self.last_ns = BEGIN_NS
        for _ in range(count):
            self.come()

    @rule()
    def come(self) -> None:
        self.names += 1
        node = SharedClock(CountedDriver(self.database), self.clock, f"n{self.names}")
        now(node.tick())
        self.nodes.append(node)

    @rule(which=st.integers(0, 3))
    def go(self, which: int) -> None:
        if len(self.nodes) > 1:
            del self.nodes[which % len(self.nodes)]

    @rule(which=st.integers(0, 3), before_s=LOOK_S, after_s=LOOK_S, answers=st.booleans(), last=st.booleans())
    def tick(self, which: int, before_s: float, after_s: float, answers: bool, last: bool) -> None:
        self.database.before_s, self.database.after_s, self.database.answers = before_s, after_s, answers
        try:
            now(self.nodes[which % len(self.nodes)].tick(last=last))
        except StoreUnavailable:
            assert not answers
        self.database.before_s = self.database.after_s = 0.0
        self.database.answers = True

    @rule(duration_s=st.floats(0.0, 5.0) | st.floats(0.0, 100_000.0))
    def wait(self, duration_s: float) -> None:
        self.clock.advance(duration_s)

    @rule(rounds=st.integers(1, 20))
    def all_tick(self, rounds: int) -> None:
        for _ in range(rounds):
            self.clock.advance(TICK_S)
            for node in self.nodes:
                now(node.tick())

    @rule(which=st.integers(0, 3), keep_s=st.floats(0.0, 60.0))
    def stamp(self, which: int, keep_s: float) -> None:
        expiry_ns = self.nodes[which % len(self.nodes)].now().expiry_ns(keep_s)
        self.stamps.append((expiry_ns, self.clock.now_s() + keep_s))

    @invariant()
    def nothing_expires_early(self) -> None:
        for node in getattr(self, "nodes", ()):
            moment = node.now()
            assert moment.at_least_ns <= moment.about_ns <= moment.at_most_ns
            early = [due_s - self.clock.now_s() for expiry_ns, due_s in self.stamps if moment.is_past(expiry_ns)]
            assert max(early, default=0.0) < 1e-3, early

    @invariant()
    def it_never_goes_back(self) -> None:
        if hasattr(self, "database"):
            assert self.database.mark_ns >= self.last_ns
            self.last_ns = self.database.mark_ns

    def teardown(self) -> None:
        if hasattr(self, "database"):
            now(self.database.close())


Nodes.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestNodes = Nodes.TestCase


async def test_it_keeps_up_with_real_time_and_more_nodes_make_it_no_faster() -> None:
    clock = FakeClock(0.0)
    database = Database(clock)
    nodes = [SharedClock(CountedDriver(database), clock, f"n{number}") for number in range(5)]
    for node in nodes:
        await node.tick()
    database.after_s = 0.002
    for _ in range(500):
        clock.advance(TICK_S)
        for node in nodes:
            await node.tick()
    grown_s = (database.mark_ns - BEGIN_NS) / 1e9
    assert 0.97 * clock.now_s() < grown_s <= clock.now_s()
    nodes.pop(0)  # the one that moved it on is gone: another takes over
    mark_ns = database.mark_ns
    for _ in range(50):
        clock.advance(TICK_S)
        for node in nodes:
            await node.tick()
    assert (database.mark_ns - mark_ns) / 1e9 > 0.9 * 50 * TICK_S - 5 * TICK_S
    await database.close()


@pytest.mark.parametrize("by_s", [3_600.0, 400 * 86_400.0])
async def test_a_jump_of_a_nodes_own_clock_moves_it_by_one_step_at_most(by_s: float) -> None:
    clock, jumping = FakeClock(0.0), FakeClock(0.0)
    database = Database(clock)
    driver = CountedDriver(database)
    node, other = SharedClock(driver, jumping, "n1"), SharedClock(driver, clock, "n2")
    await node.tick()
    await other.tick()
    jumping.advance(by_s)
    await node.tick()
    assert database.mark_ns - BEGIN_NS <= MAX_STEP_S * 10**9
    await other.tick()
    jumping._now_s = 0.0  # and back
    await node.tick()
    assert BEGIN_NS <= database.mark_ns <= BEGIN_NS + MAX_STEP_S * 10**9
    await database.close()


async def test_a_mark_that_went_back_is_another_store() -> None:
    clock = FakeClock(0.0)
    database = Database(clock)
    driver = CountedDriver(database)
    node = SharedClock(driver, clock, "n1")
    await node.tick()
    database.set(BEGIN_NS - 1)
    for _ in range(3):
        with pytest.raises(StoreReplaced):
            await node.tick()
        assert driver.replaced.is_set()
        clock.advance(TICK_S)
    await database.close()


class Held(Database):
    """A transaction waits before it is carried out, and then before its answer, each until the test lets it go on."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.waiting: list[asyncio.Event] = []

    async def transact(
        self,
        work: Callable[[sa.Connection], T],
        *,
        retry: bool,
        at_once: Callable[[sa.Connection], T | None] | None = None,
    ) -> T:
        await self._until_let_go()
        done = await super().transact(work, retry=retry)
        await self._until_let_go()
        return done

    async def _until_let_go(self) -> None:
        self.waiting.append(go := asyncio.Event())
        await go.wait()


async def in_order(database: Held, order: list[int], *ticks: Coroutine[Any, Any, int]) -> None:
    """Ticks at once. order: which of those that wait goes on next, as long as that is said."""
    ticking = [asyncio.create_task(tick) for tick in ticks]
    while any(not tick.done() for tick in ticking):
        for _ in range(5):
            await asyncio.sleep(0)
        if database.waiting:
            database.waiting.pop(order.pop(0) % len(database.waiting) if order else 0).set()
    for tick in ticking:
        tick.result()


@settings(max_examples=50, deadline=None)
@given(order=st.lists(st.integers(0, 1), max_size=8))
async def test_two_ticks_of_a_node_at_once_are_as_one_after_the_other(order: list[int]) -> None:
    clock = FakeClock(0.0)
    database = Held(clock)
    driver = CountedDriver(database)
    node = SharedClock(driver, clock, "n1")
    await in_order(database, [], node.tick())
    for _ in range(6):  # it takes the mark over, and counts no second twice
        clock.advance(TICK_S)
        mark_ns = database.mark_ns
        await in_order(database, list(order), node.tick(), node.tick())
        assert database.mark_ns - mark_ns <= TICK_S * 10**9
    assert not driver.replaced.is_set()
    await database.close()
