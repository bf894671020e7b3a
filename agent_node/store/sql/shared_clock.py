"""The clock that all nodes of a durable store share: a mark in the store, which they move on.

Guarantees: the mark never goes back, and between any two moments it grows by no more than the time that has really
passed, and `max_step_s`; no wall clock has a say, and no jump of any clock of one node moves it by more than
max_step_s. It stands still while no node runs, so what is kept then is kept for longer. Its growth is slower than real
time by what a transaction takes, and where another node takes over.

How: one node moves the mark on, each tick by what its boot clock has counted since it last knew the mark to be there;
the others look, and one of them takes over where the mark has stood still for a few ticks. The write compares the mark
with the one that was counted from, so no two nodes' counts add up, and one that was held up for long moves nothing.

A mark that is lower than before is another store's, or an older copy's (StoreReplaced). Run by the node's app.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from sqlalchemy import Connection, select, update

from agent_node.store.clock import Moment, in_ns
from agent_node.store.database.counted import CountedDriver
from agent_node.store.sql.clock_schema import store_clock
from agentring.cluster.clock import Clock
from agentring.errors import StoreReplaced, StoreUnavailable

TICK_S = 2.0
MAX_STEP_S = 10.0
_TAKEN_OVER_AFTER_TICKS = 3.5
"""Three looks that found the mark where it was, whichever moment the other one's tick comes at."""

_MARK = select(store_clock.c.now_ns, store_clock.c.moved_by)

_log = structlog.get_logger()


class SharedClock:
    """A StoreClock over a durable store. `tick` is called once before `now`; one task must run `run()`."""

    def __init__(
        self,
        driver: CountedDriver,
        clock: Clock,
        name: str,
        *,
        tick_s: float = TICK_S,
        max_step_s: float = MAX_STEP_S,
    ) -> None:
        """clock: the node's boot clock; name: of this process alone."""
        self._driver = driver
        self._clock = clock
        self._name = name
        self._tick_s = tick_s
        self._max_step_s = max_step_s
        self._ticking = asyncio.Lock()
        self._mark_ns = -1
        """As it was last seen; -1: never."""
        self._is_mine = False
        """Whether this process moved it there."""
        self._asked_s = self._seen_s = self._found_s = 0.0
        """When the latest look began and ended, and when the mark was first seen where it is."""

    def now(self) -> Moment:
        """As StoreClock."""
        now_s = self._clock.now_s()
        since_asked_s = max(0.0, now_s - self._asked_s)
        about_s = min(max(0.0, now_s - self._seen_s), self._max_step_s)
        return Moment(
            self._mark_ns,
            self._mark_ns + in_ns(about_s),
            # Others may have moved the mark on since, by as much as time has passed, and are about to once more.
            self._mark_ns + in_ns(since_asked_s + self._max_step_s),
            time.time_ns(),
        )

    async def run(self, recorded: Callable[[int], Awaitable[None]] | None = None) -> None:
        """Ticks until cancelled. recorded: gets each mark that this process has set."""
        failing = False
        while True:
            await self._clock.sleep(self._tick_s)
            try:
                await self.tick()
            except StoreUnavailable as error:
                if not failing:
                    _log.warning("store_clock_stands", reason=error.reason)
                failing = True
                continue
            failing = False
            if self._is_mine and recorded is not None:
                await recorded(self._mark_ns)

    async def tick(self, *, last: bool = False) -> int:
        """Looks at the mark, moves it on where that is this process's turn, and returns it. last: this process ends,
        and leaves the mark as far on as it can. Raises StoreReplaced, StoreUnavailable."""
        # Two ticks at once, the usual one and one before a rejoin, would count the same time twice; and the answer that
        # comes last may be the older one, which looks as if the store had gone back.
        async with self._ticking:
            return await self._tick(last=last)

    async def _tick(self, *, last: bool) -> int:
        asked_s = self._clock.now_s()
        stood_s = asked_s - self._found_s
        if self._mark_ns >= 0 and (self._is_mine or last or stood_s >= _TAKEN_OVER_AFTER_TICKS * self._tick_s):
            # Invariant: a node that was held up does not add that time
            # (tests/unit/agent_node/store/sql/test_shared_clock.py): others have stamped outcomes with the mark
            # meanwhile, which would expire early.
            step_s = min(max(0.0, asked_s - self._seen_s), self._max_step_s)
            found_ns, moved_by = await self._driver.transact(
                lambda connection: _moved(connection, self._mark_ns, self._mark_ns + in_ns(step_s), self._name),
                retry=False,
            )
        else:
            found_ns, moved_by = await self._driver.read(_read)
        if found_ns < self._mark_ns:
            self._driver.distrust()
            raise StoreReplaced
        self._asked_s, self._seen_s = asked_s, self._clock.now_s()
        if found_ns != self._mark_ns:
            self._mark_ns, self._found_s = found_ns, self._seen_s
        self._is_mine = moved_by == self._name
        return found_ns


def _moved(connection: Connection, seen_ns: int, to_ns: int, name: str) -> tuple[int, str]:
    """Moves the mark on, unless somebody else has since it was seen; the mark as it is now."""
    connection.execute(update(store_clock).where(store_clock.c.now_ns == seen_ns).values(now_ns=to_ns, moved_by=name))
    return _read(connection)


def _read(connection: Connection) -> tuple[int, str]:
    row: Any = connection.execute(_MARK).one()
    return row[0], row[1]
