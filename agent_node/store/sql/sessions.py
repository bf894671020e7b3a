"""The durable store, on whatever carries out its transactions: SQLite (store/database/sqlite.py) or PostgreSQL
(store/database/postgres.py).

Guarantees what Store promises (store/session_store.py); how is said in session_transactions.py. Each write has an id of
its own, the same when its driver tries it again.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import Connection

from agent_node.store.clock import in_ns
from agent_node.store.database.counted import CountedDriver
from agent_node.store.session_records import (
    SEQ_RANGE,
    Acceptance,
    EventRow,
    ListedSession,
    OpenSession,
    Ownership,
    SessionFilter,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
    TurnCommit,
)
from agent_node.store.sql import closed_sessions as closed
from agent_node.store.sql import session_at_once as at_once
from agent_node.store.sql import session_events, session_inputs, session_reads
from agent_node.store.sql import session_lists as lists
from agent_node.store.sql import session_transactions as transactions
from agent_node.store.sql.access_heads import AccessHeads
from agent_node.store.sql.files import SqlFileStore
from agent_node.store.sql.halts import SqlHaltStore
from agent_node.store.sql.once import SqlOnceStore
from agent_node.store.sql.shared_clock import SharedClock
from agent_node.store.sql.steps import SqlStepStore
from agent_node.store.sql.storage import SqlStorageStore
from agent_node.store.sql.stored_bytes import SqlStoredBytes
from agent_node.store.sql.tasks import SqlTaskStore
from agentring.ids import SessionRef, TenantId

T = TypeVar("T")


class SqlStore:
    """A Store in an SQL database. Resource handling: `close()`."""

    durable = True
    waits = True

    def __init__(
        self,
        driver: CountedDriver,
        generation: int,
        store_uuid: str,
        clock: SharedClock,
        page_secret: bytes,
        *,
        max_history_turns: int,
        seq_range: int = SEQ_RANGE,
    ) -> None:
        """generation: the cluster's; the database must not go on to another one meanwhile. store_uuid: the database's
        own; clock: the store's, which has been read; page_secret: the store's, of page tokens."""
        self._generation = generation
        self._max_history_turns = max_history_turns
        self._seq_range = seq_range
        self._commit_ids, self._commits = os.urandom(8).hex(), count(1)
        self.uuid = store_uuid
        self.page_secret = page_secret
        """Of the lists' page tokens."""
        self.driver = driver
        """Who carries out its transactions, and knows how many failed."""
        self.clock = clock
        """By which what it keeps expires."""
        self.tasks = SqlTaskStore(driver, lambda: self._generation, clock)
        """The store of tasks in the same database."""
        self.once = SqlOnceStore(driver, lambda: self._generation, clock)
        """The runs of `ctx.once`."""
        self.steps = SqlStepStore(driver)
        """The steps of turns."""
        self.storage = SqlStorageStore(driver)
        """What turns have stored by key."""
        self.access_heads = AccessHeads(driver)
        """How far the access logs of the cluster's processes are."""
        self.files = SqlFileStore(driver, clock)
        """The files of sessions."""
        self.halts = SqlHaltStore(driver)
        """What is halted."""
        self.stored_bytes = SqlStoredBytes(driver)
        """What tenants have stored."""

    async def close(self) -> None:
        """Lets go of the database."""
        await self.driver.close()

    @property
    def generation(self) -> int:
        """The cluster's generation that it writes under."""
        return self._generation

    async def enter_generation(self, generation: int, take_possession: Callable[[Connection], object]) -> None:
        """Writes under a later generation of the cluster from now on, once the database is taken possession of under
        it. Raises StoreUnavailable, and what take_possession raises."""
        await self.driver.transact(take_possession, retry=True)
        self._generation = generation

    async def activate(self, ownership: Ownership, agent: str) -> StoredSession:
        """As Store. Never tried again by itself: an epoch that was raised cannot be raised again, so after an unknown
        outcome the claim must be put again first."""
        values: dict[str, Any] = {
            "ownership": ownership,
            "agent": agent,
            "generation": self._generation,
            "seq_range": self._seq_range,
        }
        raise_and_read = partial(transactions.raise_and_read, max_history_turns=self._max_history_turns, **values)
        return await self.driver.transact(raise_and_read, retry=False, at_once=partial(at_once.activate, **values))

    async def close_unread(self, ownership: Ownership) -> None:
        """As Store. Never tried again by itself, as `activate`."""
        await self.driver.transact(partial(closed.close_unread, ownership=ownership, now=self.clock.now()), retry=False)

    async def accept_turn(
        self, ownership: Ownership, turn: StoredTurn, head_seq: int | None, events: Sequence[EventRow] = ()
    ) -> Acceptance:
        """As Store."""
        values: dict[str, Any] = {
            "ownership": ownership,
            "commit_id": self._commit_id(),
            "turn": turn,
            "head_seq": head_seq,
            "events": events,
        }
        return await self.driver.transact(
            partial(transactions.accept_turn, **values), retry=True, at_once=partial(at_once.accept_turn, **values)
        )

    async def start_turn(self, ownership: Ownership, turn: StoredTurn) -> int:
        """As Store."""
        return await self._update(ownership, None, [turn])

    async def start_tool(self, ownership: Ownership, start: ToolStart) -> int:
        """As Store."""
        return await self._write(
            partial(transactions.start_tool, ownership=ownership, commit_id=self._commit_id(), start=start)
        )

    async def keep_input(self, ownership: Ownership, asked: StoredInput) -> int:
        """As Store."""
        return await self._write(
            partial(transactions.keep_input, ownership=ownership, commit_id=self._commit_id(), asked=asked)
        )

    async def end_turn(
        self,
        ownership: Ownership,
        turn: StoredTurn,
        head_seq: int | None,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        """As Store."""
        return await self._update(ownership, head_seq, [*renumbered, turn], events)

    async def commit_turn(
        self,
        ownership: Ownership,
        commit: TurnCommit,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        """As Store."""
        return await self._update(
            ownership,
            commit.turn.end_seq,
            [*renumbered, commit.turn],
            events,
            completed=commit.turn,
            output_text=commit.past.output_text,
            state_json=commit.state_json,
        )

    async def extend_range(self, ownership: Ownership, reserved_seq: int) -> int:
        """As Store."""
        return await self._change(ownership, None, reserved_seq=reserved_seq)

    async def trim_events(self, ownership: Ownership, before_bytes: int) -> Trim:
        """As Store."""
        return await self._write(
            partial(
                transactions.trim_events,
                ownership=ownership,
                commit_id=self._commit_id(),
                before_bytes=before_bytes,
            )
        )

    async def close_session(self, ownership: Ownership, head_seq: int, events: Sequence[EventRow] = ()) -> int:
        """As Store."""
        return await self._change(ownership, head_seq, events, closed_ns=self.clock.now().at_most_ns)

    async def release(
        self, ownership: Ownership, head_seq: int | None, reserved_seq: int, events: Sequence[EventRow] = ()
    ) -> int:
        """As Store."""
        return await self._change(ownership, head_seq, events, reserved_seq=reserved_seq, owner="")

    async def read(self, ref: SessionRef) -> StoredSession | None:
        """As Store."""
        return await self.driver.read(partial(session_reads.read_session, ref=ref))

    async def read_turn(self, ref: SessionRef, turn_id: str) -> StoredTurn | None:
        """As Store."""
        return await self.driver.read(partial(session_reads.read_turn, ref=ref, turn_id=turn_id))

    async def read_input(self, ref: SessionRef, input_id: str) -> StoredInput | None:
        """As Store."""
        return await self.driver.read(partial(session_inputs.read, ref=ref, input_id=input_id))

    async def read_events(self, ref: SessionRef, after_seq: int, max_bytes: int) -> Sequence[EventRow]:
        """As Store."""
        return await self.driver.read(partial(session_events.read, ref=ref, after_seq=after_seq, max_bytes=max_bytes))

    async def expire_closed(self, tombstone_s: float) -> int:
        """As Store."""
        closed_before_ns = self.clock.now().at_least_ns - in_ns(tombstone_s)
        return await self._write(partial(closed.expire, closed_before_ns=closed_before_ns))

    async def list_open(self, after: SessionRef | None, at_most: int) -> Sequence[OpenSession]:
        """As Store."""
        return await self.driver.read(partial(lists.open_sessions, after=after, at_most=at_most))

    async def list_sessions(
        self, tenant: TenantId, which: SessionFilter, after: str, at_most: int
    ) -> Sequence[ListedSession]:
        """As Store."""
        return await self.driver.read(
            partial(lists.sessions_of, tenant=tenant, which=which, after=after, at_most=at_most)
        )

    async def _update(
        self,
        ownership: Ownership,
        head_seq: int | None,
        turns: Sequence[StoredTurn],
        events: Sequence[EventRow] = (),
        **completed: Any,
    ) -> int:
        values: dict[str, Any] = {
            "ownership": ownership,
            "commit_id": self._commit_id(),
            "head_seq": head_seq,
            "turns": turns,
            "events": events,
            **completed,
        }
        return await self.driver.transact(
            partial(transactions.update_turns, **values), retry=True, at_once=partial(at_once.update_turns, **values)
        )

    async def _change(
        self, ownership: Ownership, head_seq: int | None, events: Sequence[EventRow] = (), **changes: object
    ) -> int:
        return await self._write(
            partial(
                transactions.change_session,
                ownership=ownership,
                commit_id=self._commit_id(),
                head_seq=head_seq,
                events=events,
                changes=changes,
            )
        )

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self.driver.transact(work, retry=True)

    def _commit_id(self) -> str:
        return f"{self._commit_ids}{next(self._commits):016x}"
