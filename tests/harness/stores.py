"""A store that a test looks into, holds up and breaks."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from agent_node.store import (
    SEQ_RANGE,
    Acceptance,
    EventRow,
    ListedSession,
    MemoryStore,
    OpenSession,
    Ownership,
    Publication,
    SessionFilter,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
    TurnCommit,
)
from agent_node.store.memory.steps import MemoryStepStore
from agent_node.store.published import Published
from agent_node.store.step_records import BlobChunk, Life, RunOwnership, StoredStep
from agent_node.store.storage_records import StorageWrite
from agentring.ids import SessionRef, TenantId

T = TypeVar("T")


class RecordingStore:
    """The volatile store, which keeps what it was asked in `calls`, and tells `watch` of it once it is done."""

    waits = True

    def __init__(self, *, durable: bool = False, seq_range: int = SEQ_RANGE) -> None:
        """durable: what it says of itself; it forgets nothing that is not released."""
        self.durable = durable
        self.memory = MemoryStore(max_history_turns=10, seq_range=seq_range)
        self.once = self.memory.once
        self.files = self.memory.files
        self.steps = RecordingStepStore(self.memory.steps, self._call)
        self.storage = self.memory.storage
        self.calls: list[str] = []
        self.turns: list[StoredTurn] = []
        """Every turn that was handed in, in order."""
        self.errors: dict[str, Exception] = {}
        """By method: what it raises instead of writing."""
        self.held: dict[str, asyncio.Event] = {}
        """By method: what it waits for before it writes."""
        self.reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By method: set once it was called."""
        self.under_way = 0
        self.most_under_way = 0
        self.watch: Callable[[str], None] = lambda _: None

    def hold(self, method: str) -> asyncio.Event:
        """The method waits until the returned event is set."""
        self.held[method] = asyncio.Event()
        return self.held[method]

    async def activate(self, ownership: Ownership, agent: str) -> StoredSession:
        return await self._call("activate", lambda: self.memory.activate(ownership, agent))

    async def accept_turn(
        self, ownership: Ownership, turn: StoredTurn, head_seq: int | None, events: Sequence[EventRow] = ()
    ) -> Acceptance:
        self.turns.append(turn)
        return await self._call("accept_turn", lambda: self.memory.accept_turn(ownership, turn, head_seq, events))

    async def start_turn(self, ownership: Ownership, turn: StoredTurn) -> int:
        self.turns.append(turn)
        return await self._call("start_turn", lambda: self.memory.start_turn(ownership, turn))

    async def start_tool(self, ownership: Ownership, start: ToolStart) -> int:
        return await self._call("start_tool", lambda: self.memory.start_tool(ownership, start))

    async def keep_input(self, ownership: Ownership, asked: StoredInput) -> int:
        return await self._call("keep_input", lambda: self.memory.keep_input(ownership, asked))

    async def end_turn(
        self,
        ownership: Ownership,
        turn: StoredTurn,
        head_seq: int | None,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        self.turns += [*renumbered, turn]
        return await self._call("end_turn", lambda: self.memory.end_turn(ownership, turn, head_seq, renumbered, events))

    async def commit_turn(
        self,
        ownership: Ownership,
        commit: TurnCommit,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        self.turns += [*renumbered, commit.turn]
        return await self._call("commit_turn", lambda: self.memory.commit_turn(ownership, commit, renumbered, events))

    async def extend_range(self, ownership: Ownership, reserved_seq: int) -> int:
        return await self._call("extend_range", lambda: self.memory.extend_range(ownership, reserved_seq))

    async def trim_events(self, ownership: Ownership, before_bytes: int) -> Trim:
        return await self._call("trim_events", lambda: self.memory.trim_events(ownership, before_bytes))

    async def close_session(self, ownership: Ownership, head_seq: int, events: Sequence[EventRow] = ()) -> int:
        return await self._call("close_session", lambda: self.memory.close_session(ownership, head_seq, events))

    async def release(
        self, ownership: Ownership, head_seq: int | None, reserved_seq: int, events: Sequence[EventRow] = ()
    ) -> int:
        return await self._call("release", lambda: self.memory.release(ownership, head_seq, reserved_seq, events))

    async def read(self, ref: SessionRef) -> StoredSession | None:
        return self.memory._sessions.get(ref) if self.durable else await self.memory.read(ref)

    async def read_turn(self, ref: SessionRef, turn_id: str) -> StoredTurn | None:
        return await self.memory.read_turn(ref, turn_id)

    async def read_input(self, ref: SessionRef, input_id: str) -> StoredInput | None:
        return await self.memory.read_input(ref, input_id)

    async def read_events(self, ref: SessionRef, after_seq: int, max_bytes: int) -> Sequence[EventRow]:
        return await self._call("read_events", lambda: self.memory.read_events(ref, after_seq, max_bytes))

    async def close_unread(self, ownership: Ownership) -> None:
        await self._call("close_unread", lambda: self.memory.close_unread(ownership))

    async def expire_closed(self, tombstone_s: float) -> int:
        return await self.memory.expire_closed(tombstone_s)

    async def list_open(self, after: SessionRef | None, at_most: int) -> Sequence[OpenSession]:
        return await self._call("list_open", lambda: self.memory.list_open(after, at_most))

    async def list_sessions(
        self, tenant: TenantId, which: SessionFilter, after: str, at_most: int
    ) -> Sequence[ListedSession]:
        return await self.memory.list_sessions(tenant, which, after, at_most)

    async def _call(self, method: str, write: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(method)
        self.reached[method].set()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)  # as every store that is not in the process
            if (held := self.held.get(method)) is not None:
                await held.wait()
            if (error := self.errors.get(method)) is not None:
                raise error
            written = await write()
        finally:
            self.under_way -= 1
        self.watch(method)
        return written


class RecordingStepStore:
    """The steps of a RecordingStore: its `calls`, `held` and `errors` have them as `keep_steps` and `keep_chunk`."""

    def __init__(self, memory: MemoryStepStore, call: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]):
        self.memory = memory
        self._call = call
        self.kept: list[StoredStep] = []
        """Every row that was handed in, in order."""

    async def keep(
        self,
        run: RunOwnership,
        steps: Sequence[StoredStep],
        storage: Sequence[StorageWrite] = (),
        publication: Publication | None = None,
    ) -> int:
        self.kept += steps
        commit: int = await self._call("keep_steps", lambda: self.memory.keep(run, steps, storage, publication))
        return commit

    async def keep_chunk(self, run: RunOwnership, chunk: BlobChunk) -> int:
        commit: int = await self._call("keep_chunk", lambda: self.memory.keep_chunk(run, chunk))
        return commit

    async def read(self, life: Life, after_ordinal: int) -> Sequence[StoredStep]:
        return await self.memory.read(life, after_ordinal)

    async def read_chunk(self, life: Life, digest: bytes, number: int) -> bytes | None:
        return await self.memory.read_chunk(life, digest, number)

    async def read_published(self, life: Life) -> Sequence[Published]:
        return await self.memory.read_published(life)

    async def read_events(self, life: Life) -> Sequence[EventRow]:
        return await self.memory.read_events(life)

    async def last_gain(self, life: Life) -> int:
        return await self.memory.last_gain(life)
