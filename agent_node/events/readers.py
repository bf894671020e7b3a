"""Those who read an event log, and are woken when there is more to read.

Guarantees: each is woken for whatever came since it looked last. Where very many read one log (a task that thousands
have joined) they are woken in groups, one in each round of the event loop, so that a new reader, and every
other stream of the node, waits for one group and not for all. None is passed over, however fast more comes: who has
waited longest is woken first. Owned by the event log.
"""

import asyncio
from itertools import islice

AT_ONCE = 16
"""How many are woken in one round."""


class LogReaders:
    """The readers of one log."""

    __slots__ = ("_due", "_readers")

    def __init__(self) -> None:
        """None yet."""
        self._readers: set[asyncio.Event] = set()
        self._due: dict[asyncio.Event, None] | None = None
        """Those who are still to be woken, in that order; None: none is."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._readers)

    def add(self, reader: asyncio.Event) -> None:
        """One more."""
        self._readers.add(reader)

    def discard(self, reader: asyncio.Event) -> None:
        """One fewer; it is not woken any more."""
        self._readers.discard(reader)
        if self._due is not None:
            self._due.pop(reader, None)

    def wake(self) -> None:
        """Sets every reader's event: now, or, of very many, within the next rounds of the event loop."""
        if self._due is not None:
            self._due |= dict.fromkeys(self._readers)
        elif len(self._readers) > AT_ONCE:
            self._due = dict.fromkeys(self._readers)
            self._wake_some(self._due)
        else:
            for reader in self._readers:
                reader.set()

    def _wake_some(self, due: dict[asyncio.Event, None]) -> None:
        for reader in list(islice(due, AT_ONCE)):
            del due[reader]
            reader.set()
        if due:
            asyncio.get_running_loop().call_soon(self._wake_some, due)
        else:
            self._due = None
