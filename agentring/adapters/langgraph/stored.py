"""How checkpoints and their writes stand in `ctx.storage`: one key each, under the hashes of thread and namespace.

Keys of one namespace are in the order of their checkpoints' ids, which is that of their making. A value begins with a
line of JSON, which says what the key cannot; what the serializer has made comes after it.
"""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from agentring.agent import LatestStorage

PREFIX = "langgraph/"
_CHECKPOINT = "c"
_WRITE = "w"
_FIRST_INDEX = 10
"""The indices of special writes are negative; so keys do not begin with a sign."""


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """Of one checkpoint."""

    thread_id: str
    namespace: str
    checkpoint_id: str

    @property
    def key(self) -> str:
        """Of the checkpoint."""
        return f"{self.prefix}{_CHECKPOINT}"

    @property
    def prefix(self) -> str:
        """Of its keys."""
        return f"{namespace_prefix(self.thread_id, self.namespace)}{self.checkpoint_id}/"

    @property
    def writes(self) -> str:
        """The prefix of its writes' keys."""
        return f"{self.prefix}{_WRITE}/"

    def write(self, task_id: str, index: int) -> str:
        """The key of one write."""
        return f"{self.writes}{task_id}/{index + _FIRST_INDEX:06}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A value, taken apart."""

    head: dict[str, Any]
    kind: str
    data: bytes

    @property
    def typed(self) -> tuple[str, bytes]:
        """As the serializer takes it."""
        return self.kind, self.data


def thread_prefix(thread_id: str) -> str:
    """Of all keys of a thread."""
    return f"{PREFIX}{_hash(thread_id)}/"


def namespace_prefix(thread_id: str, namespace: str) -> str:
    """Of all keys of a namespace of a thread."""
    return f"{thread_prefix(thread_id)}{_hash(namespace)}/"


def is_checkpoint(key: str) -> bool:
    """Whether the key is a checkpoint's, and not a write's."""
    return key.count("/") == PREFIX.count("/") + 3 and key.endswith(f"/{_CHECKPOINT}")


def checkpoint_id_of(key: str) -> str:
    """Of a checkpoint's key."""
    return key.split("/")[-2]


def packed(head: dict[str, Any], typed: tuple[str, bytes]) -> bytes:
    """A value. Raises TypeError, ValueError where the head is no JSON."""
    kind, data = typed
    line = json.dumps({"type": kind, **head}, ensure_ascii=False).encode("utf-8", "ignore")
    return line + b"\n" + data


def unpacked(value: bytes) -> Stored:
    """As `packed`."""
    line, _, data = value.partition(b"\n")
    head = json.loads(line)
    return Stored(head, head.pop("type"), data)


async def all_keys(storage: LatestStorage, prefix: str) -> list[str]:
    """In their order."""
    return [key async for key in each_key(storage, prefix)]


async def each_key(storage: LatestStorage, prefix: str) -> AsyncIterator[str]:
    """In their order, a page at a time."""
    after = ""
    while page := await storage.list(prefix, after=after):
        for entry in page:
            yield entry.key
        after = page[-1].key


async def remove(storage: LatestStorage, keys: Sequence[str]) -> None:
    """All of these, in one commit."""
    if keys:
        await storage.change(dict.fromkeys(keys))


async def remove_all(storage: LatestStorage, prefix: str) -> None:
    """All that is under a prefix, in one commit."""
    await remove(storage, await all_keys(storage, prefix))


async def add(storage: LatestStorage, ref: CheckpointRef, values: dict[str, bytes | None], *, replaces: bool) -> None:
    """Writes of a checkpoint, in one commit. replaces: those that are there already do not stay."""
    if not replaces:
        known = set(await all_keys(storage, ref.writes))
        values = {key: value for key, value in values.items() if key not in known}
    if values:
        await storage.change(values)


async def copy(storage: LatestStorage, source_id: str, target_id: str) -> None:
    """All of one thread under another one, too."""
    source, target = thread_prefix(source_id), thread_prefix(target_id)
    for key in await all_keys(storage, source):
        value = await storage.get(key)
        if value is None:
            continue
        if is_checkpoint(key):
            stored = unpacked(value)
            value = packed({**stored.head, "thread_id": target_id}, stored.typed)
        await storage.put(target + key.removeprefix(source), value)


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
