"""The key sets that issuers serve by URL: when each is fetched, and how long it counts.

Guarantees: each is fetched every EVERY_S, and at most once in UNKNOWN_EVERY_S because a token names a key that is not
in it; one fetch of a set at a time; a set that cannot be fetched counts for STALE_S more, and no longer. What is asked
here answers at once. Used by the authenticator, on its loop.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from agentring.auth.jwks import EMPTY, JwksUnusable, KeySet

EVERY_S: Final = 600.0
UNKNOWN_EVERY_S: Final = 60.0
EMPTY_EVERY_S: Final = 10.0
"""Until a set has come, nobody with a token of it can call."""
STALE_S: Final = 24 * 3600.0

_log = structlog.get_logger()


@dataclass(slots=True)
class _Source:
    """One URL."""

    keys: KeySet = EMPTY
    fetched_s: float | None = None
    """When the keys came; None: never."""
    tried_s: float | None = None
    """When the last fetch began."""
    has_failed: bool = False
    """The last one did."""
    is_asked_for: bool = False
    """A token named a key that is not in it."""
    is_running: bool = False


class FetchedKeys:
    """By URL."""

    def __init__(self, fetch: Callable[[str], Awaitable[KeySet]], clock_s: Callable[[], float]) -> None:
        """fetch: raises JwksUnusable; clock_s: monotonic."""
        self._fetch = fetch
        self._clock_s = clock_s
        self._sources: dict[str, _Source] = {}
        self.failures = 0
        """Fetches that came to nothing."""

    @property
    def failing(self) -> int:
        """How many sets could not be fetched the last time."""
        return sum(source.has_failed for source in self._sources.values())

    def keep(self, urls: Iterable[str]) -> None:
        """These are the ones from now on."""
        self._sources = {url: self._sources.get(url) or _Source() for url in urls}

    def get(self, url: str) -> KeySet:
        """Its keys as far as they are known; there may be none."""
        source = self._sources.get(url)
        return source.keys if source is not None else EMPTY

    def ask(self, url: str) -> bool:
        """A token names a key that is not there: whether it may be there soon."""
        source = self._sources.get(url)
        if source is None:
            return False
        if source.fetched_s is not None and not source.is_running and self._is_since(source.tried_s, UNKNOWN_EVERY_S):
            source.is_asked_for = True
        return source.fetched_s is None or source.is_running or source.is_asked_for

    def due(self) -> Iterator[str]:
        """Those to be fetched now; they count as under way."""
        for url, source in self._sources.items():
            if not source.is_running and self._is_due(source):
                source.is_running = True
                source.tried_s = self._clock_s()
                yield url

    async def fetch(self, url: str) -> bool:
        """One that was due: whether its keys are others now."""
        source = self._sources.get(url)
        try:
            keys = await self._fetch(url)
        except JwksUnusable as error:
            self.failures += 1
            if source is not None:
                source.has_failed = True
            _log.error("jwks_not_fetched", host=_host(url), why=str(error))
            return False
        finally:
            if source is not None:
                source.is_running = source.is_asked_for = False
        if source is None:
            return False
        differs = keys.names != source.keys.names
        source.keys, source.fetched_s, source.has_failed = keys, self._clock_s(), False
        if differs:
            _log.info("jwks_fetched", host=_host(url), keys=len(keys.names))
        return differs

    def drop_stale(self) -> bool:
        """Forgets the keys that could not be fetched for too long: whether there were any."""
        dropped = False
        for url, source in self._sources.items():
            if source.keys is not EMPTY and self._is_since(source.fetched_s, EVERY_S + STALE_S):
                source.keys, source.fetched_s, dropped = EMPTY, None, True
                _log.error("jwks_too_old", host=_host(url))
        return dropped

    def _is_due(self, source: _Source) -> bool:
        if source.is_asked_for or source.tried_s is None:
            return True
        if source.fetched_s is None:
            return self._is_since(source.tried_s, EMPTY_EVERY_S)
        return self._is_since(source.tried_s, UNKNOWN_EVERY_S if source.has_failed else EVERY_S)

    def _is_since(self, then_s: float | None, seconds: float) -> bool:
        return then_s is None or self._clock_s() - then_s >= seconds


def _host(url: str) -> str:
    """A URL's path may be what nobody else is to know."""
    return url.split("/")[2]
