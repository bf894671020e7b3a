"""The store as the host and its sessions see it.

Every implementation guarantees: an activation first raises the session's epoch and only then reads, in one step; every
later write is one step that first compares epoch and owner, so that no write of an epoch lands after one of a later
epoch; what was acknowledged is there for the next activation, in a durable store also after a crash. Each write returns
the row's commit number, by which the order of a session's writes is known afterwards.

Every method may raise StaleEpoch (the caller no longer owns the session) and StoreUnavailable (nobody knows whether
the write landed), the latter within the store's deadline. Cancellation: as StoreUnavailable. A session has one write
under way at a time.

Events are kept with the write that gives the session a new head_seq: `events` are those from the head_seq before to the
new one, or empty where there were none in between or events are not kept. So what is kept always ends at head_seq. Of a
turn that has not ended it has what was told before a step of the turn was committed (StepStore.keep)."""

from collections.abc import Sequence
from typing import Protocol

from agent_node.store.file_store import FileStore
from agent_node.store.once_store import OnceStore
from agent_node.store.session_records import (
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
from agent_node.store.step_store import StepStore
from agent_node.store.storage_store import StorageStore
from agentring.ids import SessionRef, TenantId


class Store(Protocol):
    """Where sessions are kept."""

    @property
    def durable(self) -> bool:
        """Whether a session outlives its owner."""

    @property
    def waits(self) -> bool:
        """Whether a method may wait; False: each returns in the step in which it was called, so nothing cuts it off."""

    @property
    def once(self) -> OnceStore:
        """The runs of `ctx.once`, kept beside the sessions."""

    @property
    def steps(self) -> StepStore:
        """The steps of turns."""

    @property
    def storage(self) -> StorageStore:
        """What turns have stored by key."""

    @property
    def files(self) -> FileStore:
        """The files of sessions."""

    async def activate(self, ownership: Ownership, agent: str) -> StoredSession:
        """Raises the session's epoch, reserves event numbers, and reads; makes the session, bound to `agent`, if it
        does not exist."""

    async def close_unread(self, ownership: Ownership) -> None:
        """Raises the epoch of a session whose checkpoint cannot be read, and closes it as it is."""

    async def accept_turn(
        self, ownership: Ownership, turn: StoredTurn, head_seq: int | None, events: Sequence[EventRow] = ()
    ) -> Acceptance:
        """Keeps a turn before its acceptance is sent to anybody; one that is known already changes nothing.

        head_seq, here and below: the new StoredSession.head_seq; None: as it was.
        """

    async def start_turn(self, ownership: Ownership, turn: StoredTurn) -> int:
        """Keeps that a run of a turn begins, and which one."""

    async def start_tool(self, ownership: Ownership, start: ToolStart) -> int:
        """Keeps that a tool is about to be called."""

    async def keep_input(self, ownership: Ownership, asked: StoredInput) -> int:
        """Keeps a question before it is sent to anybody, and its answer before it is acknowledged."""

    async def end_turn(
        self,
        ownership: Ownership,
        turn: StoredTurn,
        head_seq: int | None,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        """Keeps how a turn ended that changes nothing else, failed or cancelled.

        renumbered: turns whose ends have later numbers in the log than were stored.
        """

    async def commit_turn(
        self,
        ownership: Ownership,
        commit: TurnCommit,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        """Keeps a completed turn, its state and its place in the history, in one step; its end is the new head_seq.
        renumbered: as in end_turn."""

    async def extend_range(self, ownership: Ownership, reserved_seq: int) -> int:
        """Reserves event numbers up to reserved_seq."""

    async def trim_events(self, ownership: Ownership, before_bytes: int) -> Trim:
        """Drops the oldest events: the rows that begin before so many bytes of the session's events."""

    async def close_session(self, ownership: Ownership, head_seq: int, events: Sequence[EventRow] = ()) -> int:
        """Marks the session as closed. Its id rests until its tombstone has expired."""

    async def release(
        self, ownership: Ownership, head_seq: int | None, reserved_seq: int, events: Sequence[EventRow] = ()
    ) -> int:
        """The last checkpoint: gives back the event numbers beyond reserved_seq, and the ownership: no later write of
        its epoch is taken. A volatile store forgets the session."""

    async def read(self, ref: SessionRef) -> StoredSession | None:
        """The session without its turns and history, for whoever does not own it; None: there is none."""

    async def read_turn(self, ref: SessionRef, turn_id: str) -> StoredTurn | None:
        """One turn; None: there is none."""

    async def read_input(self, ref: SessionRef, input_id: str) -> StoredInput | None:
        """One question, also of a turn that has ended; None: there is none."""

    async def read_events(self, ref: SessionRef, after_seq: int, max_bytes: int) -> Sequence[EventRow]:
        """Rows that go on after a seq, the first of them perhaps with what is before it too, in their order: about
        max_bytes of them, at least one; empty: nothing later is kept."""

    async def expire_closed(self, tombstone_s: float) -> int:
        """Removes sessions that have been closed for so long by the store's clock, some at a time; how many."""

    async def list_open(self, after: SessionRef | None, at_most: int) -> Sequence[OpenSession]:
        """Sessions of all tenants that have turns which have not ended, in an order of the store's own; after: the last
        one that is known already; None: from the first. None that waits for an answer: the answer resumes it."""

    async def list_sessions(
        self, tenant: TenantId, which: SessionFilter, after: str, at_most: int
    ) -> Sequence[ListedSession]:
        """A tenant's sessions in the order of their ids, as the database sorts text; after: the last id that is known
        already; empty: from the first. A volatile store knows those that its own node has."""
