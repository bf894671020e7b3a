"""What is known of a run's storage while it runs: which keys have values, and what its open steps are about to write.

Guarantees: what an open step writes is its own until it is committed, and nobody's where it fails; of
two steps that were open at the same time and write one key the second gets a StorageConflict, so that no update is
lost; what is committed and what open steps have written stays within the bounds together, so that
no commit is refused for them. Nothing is read or written here. Used by storage.py and steps.py.
"""

import asyncio
from collections.abc import Iterable, Mapping

from agent_node.step.identity import each_id
from agent_node.store.storage_records import StorageEntry, StorageWrite
from agentring.agent import StorageConflict, StorageFull

MOST_KEYS = 10_000
MOST_VALUE_BYTES = 16 << 20
MOST_STEP_BYTES = 16 << 20
"""Of the values that one step, or one change, writes."""
_MOST_CONFLICTS = 16
"""After which a step is not called again for them."""


class StorageKeys:
    """Of one attempt."""

    def __init__(self, most_bytes: int, wait_s: float) -> None:
        """most_bytes: of keys and values together. wait_s: how long a step may wait for a key that another holds."""
        self._most_bytes = most_bytes
        self._wait_s = wait_s
        self.sizes: dict[str, int] = {}
        """The keys that have a committed value, with its size; `load` fills it."""
        self._used_bytes = 0
        self._pending: set[Changes] = set()
        """With something in them that is not committed."""
        self._holders: dict[str, Changes] = {}
        self._freed: asyncio.Event | None = None
        """Set when a holder has let go; None: nobody waits."""
        self._open: dict[bytes, Changes] = {}
        """The steps whose functions run, by their ids."""
        self._commits = 0
        self._last_commits: dict[str, tuple[int, bytes]] = {}
        """Of keys that were written while steps were open: which commit it was, and the outer_ids of its step."""

    def load(self, entries: Iterable[StorageEntry]) -> None:
        """All that is committed."""
        self.sizes = {entry.key.decode(): entry.size_bytes for entry in entries}
        self._used_bytes = sum(map(_cost, self.sizes, self.sizes.values()))

    def begin(self, changes: "Changes") -> None:
        """The step's function is about to be called."""
        self._open[changes.step_id] = changes
        changes.began_at = self._commits

    def end(self, changes: "Changes") -> None:
        """It has ended, and writes nothing any more. More than once is as once."""
        self._open.pop(changes.step_id, None)
        if not self._open:
            self._last_commits.clear()
        if not changes.completes and changes.values:
            self.undo(changes)

    def of_step(self, step_id: bytes) -> "Changes":
        """Raises RuntimeError where the step's function has ended."""
        if (changes := self._open.get(step_id)) is None:
            raise RuntimeError("the step has ended, and stores nothing any more")
        return changes

    def holder(self, key: str) -> "Changes | None":
        """Who has written the key, and is not committed."""
        return self._holders.get(key)

    def change(self, changes: "Changes", key: str, value: bytes | None, *, hold: bool = True) -> None:
        """Adds to what is to be written. hold: nobody else writes the key until then. Raises StorageConflict,
        StorageFull."""
        holder = self._holders.get(key)
        if (holder is not None and holder is not changes) or (hold and self._was_written(changes, key)):
            raise StorageConflict(key)
        self._check_room(changes, key, value)
        before = changes.values.get(key)
        changes.values_bytes += len(value or b"") - len(before or b"")
        changes.bytes_more += _more(key, value, self._size(changes, key))
        changes.keys_more += (value is not None) - self._is_there(changes, key)
        changes.values[key] = value
        self._pending.add(changes)
        if hold:
            self._holders[key] = changes

    def undo(self, changes: "Changes") -> None:
        """Nothing of it is going to be committed."""
        self._settle(changes)
        changes.clear()

    def committed(self, changes: "Changes") -> None:
        """All of it is."""
        self._commits += 1
        if self._open:
            self._last_commits.update(dict.fromkeys(changes.values, (self._commits, changes.outer_ids)))
        for key, value in changes.values.items():
            self._used_bytes -= _cost(key, self.sizes.pop(key, None))
            if value is not None:
                self.sizes[key] = len(value)
                self._used_bytes += _cost(key, len(value))
        self._settle(changes)

    async def until_free(self, changes: "Changes", key: str) -> bool:
        """Whether the key came free. One that a step around this one holds does not, nor one that is held too long."""
        try:
            async with asyncio.timeout(self._wait_s):
                while (holder := self._holders.get(key)) is not None:
                    if holder.step_id in each_id(changes.outer_ids):
                        return False
                    self._freed = self._freed or asyncio.Event()
                    await self._freed.wait()
        except TimeoutError:
            return False
        return True

    def restarted(self, changes: "Changes") -> None:
        """The step's function is called again."""
        changes.began_at = self._commits
        if changes.values:
            self.undo(changes)

    def _was_written(self, changes: "Changes", key: str) -> bool:
        """Whether somebody else has committed the key since the step began: it may have read what was there before."""
        commit, outer_ids = self._last_commits.get(key, (0, b""))
        return commit > changes.began_at and changes.step_id not in each_id(outer_ids)

    def _settle(self, changes: "Changes") -> None:
        self._pending.discard(changes)
        for key in changes.values:
            if self._holders.get(key) is changes:
                del self._holders[key]
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    def _check_room(self, changes: "Changes", key: str, value: bytes | None) -> None:
        if value is None:
            return
        step_bytes = changes.values_bytes + len(value) - len(changes.values.get(key) or b"")
        if step_bytes > MOST_STEP_BYTES:
            raise StorageFull(key, f"{step_bytes} bytes in one step or change, more than {MOST_STEP_BYTES}")
        others = [each for each in self._pending if each is not changes]
        more_bytes = changes.bytes_more + _more(key, value, self._size(changes, key))
        all_bytes = self._used_bytes + more_bytes + sum(max(0, each.bytes_more) for each in others)
        if more_bytes > 0 and all_bytes > self._most_bytes:
            raise StorageFull(key, f"{all_bytes} bytes in all, more than {self._most_bytes}")
        more_keys = changes.keys_more + 1 - self._is_there(changes, key)
        all_keys = len(self.sizes) + more_keys + sum(max(0, each.keys_more) for each in others)
        if more_keys > 0 and all_keys > MOST_KEYS:
            raise StorageFull(key, f"{all_keys} keys, more than {MOST_KEYS}")

    def _size(self, changes: "Changes", key: str) -> int | None:
        """Of the value as these changes see it; None: there is none."""
        if key in changes.values:
            value = changes.values[key]
            return len(value) if value is not None else None
        return self.sizes.get(key)

    def _is_there(self, changes: "Changes", key: str) -> bool:
        return self._size(changes, key) is not None


class Changes:
    """What one step, or one change beside the steps, is about to write. It is the Tries of its step's function."""

    def __init__(self, keys: StorageKeys, step_id: bytes = b"", outer_ids: bytes = b"") -> None:
        """step_id, outer_ids: as StoredStep; empty: it is no step's."""
        self._keys = keys
        self.step_id = step_id
        self.outer_ids = outer_ids
        self.values: dict[str, bytes | None] = {}
        self.values_bytes = 0
        self.bytes_more = 0
        """By how much what is stored grows with it."""
        self.keys_more = 0
        self.began_at = 0
        """The last commit before its function was called."""
        self._conflicts = 0
        self.completes = False
        """Whether it is going to be committed, the step's function having ended."""

    def writes(self) -> list[StorageWrite]:
        """For the store."""
        return [StorageWrite(key.encode(), value) for key, value in self.values.items()]

    def restart(self) -> None:
        """The function is called again: what it wrote before is not to be written."""
        self._keys.restarted(self)

    async def tries_again(self, error: Exception) -> bool:
        """Whether the error was another step's holding a key, which has let go of it meanwhile."""
        self._conflicts += 1
        if not isinstance(error, StorageConflict) or self._conflicts > _MOST_CONFLICTS:
            return False
        self.restart()  # one that waits holds nothing, so two do not wait for each other
        return await self._keys.until_free(self, error.key)

    def clear(self) -> None:
        """There is nothing to be written."""
        self.values = {}
        self.values_bytes = self.bytes_more = self.keys_more = 0


def merged(sizes: Mapping[str, int], values: Mapping[str, bytes | None]) -> dict[str, int]:
    """The sizes as a step sees them that has written these values."""
    seen = dict(sizes)
    for key, value in values.items():
        seen.pop(key, None)
        if value is not None:
            seen[key] = len(value)
    return seen


def _cost(key: str, size: int | None) -> int:
    return 0 if size is None else len(key.encode()) + size


def _more(key: str, value: bytes | None, size: int | None) -> int:
    return _cost(key, None if value is None else len(value)) - _cost(key, size)
