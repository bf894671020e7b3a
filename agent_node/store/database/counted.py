"""A store's carrier whose failures are counted, logged where they begin and end, and told to the node's metrics."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from agent_node.store.database.driver import Driver
from agentring.errors import StoreReplaced, StoreUnavailable

T = TypeVar("T")

_log = structlog.get_logger()


class CountedDriver:
    """A Driver around another one, which it closes with itself."""

    def __init__(self, carrier: Driver) -> None:
        self._carrier = carrier
        self.failures: Counter[str] = Counter()
        """Transactions and reads that failed, by their error's reason."""
        self.trouble: str | None = None
        """The reason of the latest failure; None: what was asked for since has succeeded."""
        self.replaced = asyncio.Event()
        """Set while what is in the store's place is not what was opened."""

    @property
    def file(self) -> str:
        """As Driver."""
        return self._carrier.file

    def distrust(self) -> None:
        """What it carries transactions out on is not the store that was opened."""
        self.replaced.set()

    async def transact(self, work: Callable[[Connection], T], *, again: bool) -> T:
        """As Driver."""
        return await self._observed(self._carrier.transact(work, again=again))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """As Driver. Where it succeeds that says nothing of writes: a full disk can be read."""
        try:
            return await self._carrier.read(work)
        except StoreUnavailable as error:
            self._failed(error)
            raise

    async def close(self) -> None:
        """As Driver."""
        await self._carrier.close()

    async def _observed(self, doing: Awaitable[T]) -> T:
        try:
            done = await doing
        except StoreUnavailable as error:
            self._failed(error)
            raise
        self.replaced.clear()
        if self.trouble is not None:
            self.trouble = None
            _log.info("store_works_again")
        return done

    def _failed(self, error: StoreUnavailable) -> None:
        self.failures[error.reason] += 1
        if isinstance(error, StoreReplaced):
            self.replaced.set()
        if self.trouble != error.reason:
            self.trouble = error.reason
            _log.error("store_failing", reason=error.reason)
