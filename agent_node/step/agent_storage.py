"""`ctx.storage`, as an agent calls it: in a step, outside of steps, and beside what is recorded (`latest`).

Guarantees: a call in a step is the step's; one outside is a step of its own, whose outcome is recorded; keys and values
that are none are refused before anything else. Made by agent_node/run/run_steps.py.
"""

import builtins
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from agent_node.step.function import StepCall, StepOptions
from agent_node.step.identity import ID_BYTES
from agent_node.step.position import position_in
from agent_node.step.steps import Steps
from agent_node.step.storage import RunStorage
from agent_node.step.storage_keys import MOST_VALUE_BYTES, Changes, merged
from agentring.agent import StepFailed, StorageConflict, StorageFull, StoredKey

MOST_KEY_BYTES = 512
MOST_LISTED = 1_000


class AgentStorage:
    """A Storage. One for an attempt."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._storage = steps.storage
        self.latest = Latest(steps.storage)
        """As Storage."""

    async def get(self, key: str) -> bytes | None:
        """As Storage."""
        key = checked_key(key)
        if (changes := self._changes()) is None:
            read = await self._own_step("get", self._read, key, pure=True)
            return b64decode(read) if read is not None else None
        return await _seen(self._storage, changes, key)

    async def put(self, key: str, value: bytes) -> None:
        """As Storage."""
        key, value = checked_key(key), checked_value(value)
        if self._changes() is None:
            await self._own_step("put", self._change, key, value, known_by=f"{sha256(value).hexdigest()} {key}")
        else:
            await self._change(key, value)

    async def delete(self, key: str) -> None:
        """As Storage."""
        key = checked_key(key)
        if self._changes() is None:
            await self._own_step("delete", self._change, key, None, known_by=key)
        else:
            await self._change(key, None)

    async def list(self, prefix: str = "", *, after: str = "", at_most: int = MOST_LISTED) -> Sequence[StoredKey]:
        """As Storage."""
        prefix, after = checked_key(prefix, least=0), checked_key(after, least=0)
        if self._changes() is None:
            found = await self._own_step("list", self._listed, prefix, after, at_most, pure=True)
        else:
            found = await self._listed(prefix, after, at_most)
        return [StoredKey(key, size) for key, size in found]

    def _changes(self) -> Changes | None:
        """Of the step in which the caller is; None: it is in none."""
        outer_ids = position_in(self._steps).outer_ids
        return self._storage.keys.of_step(outer_ids[-ID_BYTES:]) if outer_ids else None

    async def _own_step(
        self, name: str, function: Any, key: str, *args: Any, known_by: str | None = None, pure: bool = False
    ) -> Any:
        options = StepOptions(key=known_by, pure=pure)
        try:
            return await self._steps.step(f"storage.{name}", StepCall(function, (key, *args), {}), options)
        except StepFailed as failed:
            if failed.type_name == StorageFull.__name__:
                raise StorageFull(key, failed.text.removeprefix(str(StorageFull(key, "")))) from None
            if failed.type_name == StorageConflict.__name__:
                raise StorageConflict(key) from None
            raise

    async def _read(self, key: str) -> str | None:
        data = await self._storage.read(key)
        return b64encode(data).decode() if data is not None else None

    async def _change(self, key: str, value: bytes | None) -> None:
        await self._storage.ready()
        changes = self._changes()
        assert changes is not None  # of the step, its own or the author's
        self._storage.keys.change(changes, key, value)

    async def _listed(self, prefix: str, after: str, at_most: int) -> builtins.list[tuple[str, int]]:
        await self._storage.ready()
        changes = self._changes()
        return _page(self._storage, changes.values if changes is not None else {}, prefix, after, at_most)


class Latest:
    """A LatestStorage."""

    def __init__(self, storage: RunStorage) -> None:
        self._storage = storage

    async def get(self, key: str) -> bytes | None:
        """As LatestStorage."""
        return await self._storage.read(checked_key(key))

    async def put(self, key: str, value: bytes) -> None:
        """As LatestStorage."""
        await self._storage.change({checked_key(key): checked_value(value)})

    async def delete(self, key: str) -> None:
        """As LatestStorage."""
        await self._storage.change({checked_key(key): None})

    async def change(self, values: Mapping[str, bytes | None]) -> None:
        """As LatestStorage."""
        await self._storage.change(
            {checked_key(key): None if value is None else checked_value(value) for key, value in values.items()}
        )

    async def list(self, prefix: str = "", *, after: str = "", at_most: int = MOST_LISTED) -> Sequence[StoredKey]:
        """As LatestStorage."""
        prefix, after = checked_key(prefix, least=0), checked_key(after, least=0)
        await self._storage.ready()
        return [StoredKey(key, size) for key, size in _page(self._storage, {}, prefix, after, at_most)]


def checked_key(key: Any, *, least: int = 1) -> str:
    """A plain str. least: how many bytes it has at least. Raises TypeError, ValueError."""
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    plain = str.__str__(key)
    try:
        size = len(plain.encode())
    except UnicodeEncodeError:
        raise ValueError("a key is text that can be written as UTF-8") from None
    if not least <= size <= MOST_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MOST_KEY_BYTES} bytes, not {size}")
    return plain


def checked_value(value: Any) -> bytes:
    """Bytes of the caller's own, which nobody changes any more. Raises TypeError, ValueError."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"a value is bytes, not {type(value).__name__}")
    data = bytes(value)
    if len(data) > MOST_VALUE_BYTES:
        raise ValueError(f"a value has at most {MOST_VALUE_BYTES} bytes, not {len(data)}")
    return data


async def _seen(storage: RunStorage, changes: Changes, key: str) -> bytes | None:
    if key in changes.values:
        return changes.values[key]
    return await storage.read(key)


def _page(
    storage: RunStorage, values: Mapping[str, bytes | None], prefix: str, after: str, at_most: int
) -> list[tuple[str, int]]:
    if not 1 <= at_most <= MOST_LISTED:
        raise ValueError(f"at_most is 1 to {MOST_LISTED}")
    seen = merged(storage.keys.sizes, values) if values else storage.keys.sizes
    keys = sorted((key for key in seen if key.startswith(prefix)), key=str.encode)
    first = bisect_right(keys, after.encode(), key=str.encode) if after else 0
    return [(key, seen[key]) for key in keys[first : first + at_most]]
