"""A store that a test looks into, holds up and breaks."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent_node.store import MemoryStore, StoredSession, StoredTurn, TurnCommit
from agentring.ids import Epoch, SessionRef

T = TypeVar("T")


class RecordingStore:
    """The volatile store, which keeps what it was asked in `calls`, and tells `watch` of it once it is done."""

    def __init__(self) -> None:
        self.memory = MemoryStore(max_history_turns=10)
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

    async def activate(self, fresh: StoredSession, epoch: Epoch) -> StoredSession:
        return await self._call("activate", lambda: self.memory.activate(fresh, epoch))

    async def accept_turn(self, ref: SessionRef, epoch: Epoch, turn: StoredTurn) -> None:
        self.turns.append(turn)
        await self._call("accept_turn", lambda: self.memory.accept_turn(ref, epoch, turn))

    async def end_turn(self, ref: SessionRef, epoch: Epoch, turn: StoredTurn) -> None:
        self.turns.append(turn)
        await self._call("end_turn", lambda: self.memory.end_turn(ref, epoch, turn))

    async def commit_turn(self, ref: SessionRef, epoch: Epoch, commit: TurnCommit) -> StoredSession:
        self.turns.append(commit.turn)
        return await self._call("commit_turn", lambda: self.memory.commit_turn(ref, epoch, commit))

    async def close_session(self, ref: SessionRef, epoch: Epoch) -> None:
        await self._call("close_session", lambda: self.memory.close_session(ref, epoch))

    async def forget_session(self, ref: SessionRef, epoch: Epoch) -> None:
        await self._call("forget_session", lambda: self.memory.forget_session(ref, epoch))

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
