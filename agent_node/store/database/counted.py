"""A store's driver whose failures are counted for the node's metrics, and logged where they begin and end."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from agent_node.store.database.driver import Driver
from agentring.errors import StoreReplaced, StoreUnavailable

T = TypeVar("T")

_log = structlog.get_logger()


class CountedDriver:
    """A Driver around another one, which it closes with itself."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.failures: Counter[str] = Counter()
        """Transactions and reads that failed, by their error's reason."""
        self.trouble: str | None = None
        """The reason of the latest failure; None: a transaction has succeeded since."""
        self.replaced = asyncio.Event()
        """Set while what is in the store's place is not what was opened."""

    @property
    def file(self) -> str:
        """As Driver."""
        return self._driver.file

    def distrust(self) -> None:
        """The database is not the one that was opened."""
        self.replaced.set()

    async def transact(
        self,
        work: Callable[[Connection], T],
        *,
        retry: bool,
        at_once: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """As Driver."""
        try:
            done = await self._driver.transact(work, retry=retry, at_once=at_once)
        except StoreUnavailable as error:
            self._failed(error)
            raise
        self.replaced.clear()
        if self.trouble is not None:
            self.trouble = None
            _log.info("store_works_again")
        return done

    async def read(self, work: Callable[[Connection], T]) -> T:
        """As Driver. Where it succeeds that says nothing of writes: a full disk can be read."""
        try:
            found = await self._driver.read(work)
        except StoreUnavailable as error:
            self._failed(error)
            raise
        # A node that is about to rejoin only reads: left set, this would fence it at once, and again.
        self.replaced.clear()
        return found

    async def close(self) -> None:
        """As Driver."""
        await self._driver.close()

    def _failed(self, error: StoreUnavailable) -> None:
        self.failures[error.reason] += 1
        if isinstance(error, StoreReplaced):
            self.replaced.set()
        if self.trouble != error.reason:
            self.trouble = error.reason
            _log.error("store_failing", reason=error.reason)
