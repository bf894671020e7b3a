"""Bytes by key that an agent keeps in its session, or in its task: for what is too large for the state, or is no JSON.

docs/agents.md, "Storage", is the guide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that has a value.

    assert StoredKey("report/may", 3) == StoredKey(key="report/may", size_bytes=3)
    """

    key: str
    size_bytes: int
    """Of its value."""


class StoredValues(Protocol):
    """Reads and writes of bytes by key."""

    async def get(self, key: str) -> bytes | None:
        """The value; None: there is none.

        picture = await ctx.storage.get("picture")
        """

    async def put(self, key: str, value: bytes) -> None:
        """Writes a value of at most 16 MiB over what there is under the key.

        await ctx.storage.put("picture", png)
        """

    async def delete(self, key: str) -> None:
        """Removes a value, if there is one.

        await ctx.storage.delete("picture")
        """

    async def list(self, prefix: str = "", *, after: str = "", at_most: int = 1_000) -> Sequence[StoredKey]:
        """A page of the keys that begin with a prefix, in the order of their UTF-8 bytes. after: the last one of the
        page before. at_most: how many, 1 to 1,000; where fewer come there are no more.

        reports = await ctx.storage.list("report/")
        """


class LatestStorage(StoredValues, Protocol):
    """Storage as it is now, for a framework that goes on by itself with what it has stored (LangGraph's checkpoints).

    Nothing is recorded: a read in a later attempt finds what is there then, so an agent that does not expect this takes
    another way than before, and fails (STEP_DIVERGED). A write is committed when it returns, and stays, whatever
    becomes of the step in which it was made. Raises and bounds as Storage.
    """

    async def change(self, values: Mapping[str, bytes | None]) -> None:
        """Writes all of these in one commit; None: removes. At most 16 MiB together.

        await ctx.storage.latest.change({"draft": None, "letter": text})
        """


class Storage(StoredValues, Protocol):
    """The session's own bytes by key, or the task's. Those of a session stay until it is closed and its tombstone has
    expired, those of a task until it has ended.

        async def render(month: str) -> int:
            picture = await draw(month)
            await ctx.storage.put(f"report/{month}", picture)
            return len(picture)

        size = await ctx.step("render", render, "may")

    **In a step**, what it writes is committed with its outcome, all or nothing, and is until then seen by nobody else,
    inner steps included; where it fails or is cut off nothing is written. It reads what is committed, and its own. Of
    two steps that are open at the same time and write one key the second fails with StorageConflict; where it is
    idempotent it is called again when the key is free, 16 times at most. A step writes at most 16 MiB.

    **Outside of steps** each call is a step of its own: what was read is recorded, and is the same in every attempt.
    So read large values in a step; at most 12 MiB can be read outside of one.

    Bounds: keys of 1 to 512 bytes of UTF-8, 10,000 of them; `--max-storage-bytes` together, keys included, 64 MiB by
    default.

    Raises TypeError and ValueError for keys and values that are none, StorageFull, StorageConflict, RuntimeError where
    the step that calls has ended or the node records no steps; NodeFenced and StoreUnavailable, after which the run is
    over. Cancellation: in a step as the step's own; else what was being written may be written.
    """

    @property
    def latest(self) -> LatestStorage:
        """Reads and writes that are not recorded.

        checkpoint = await ctx.storage.latest.get("checkpoint")
        """
