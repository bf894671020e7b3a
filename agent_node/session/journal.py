"""A session's turns: which were accepted, how far each is, how it ended; first in the store, then in the story.

Guarantees: nobody is told of a turn's acceptance or end, and no tool is called, before the store has it; the store is
written to once at a time, only while the lease stands, and never after the log was ended (fenced_writer.py); a turn is
known under its turn_id from its acceptance on, and its last event with it, also where the event log has dropped that
and where an earlier owner ran it. In a durable store what was told is kept with the end of the turn that told it
(stored_events.py). What an earlier owner left is taken up: numbers that it may have used are covered by the first
event, and a turn that it began is begun again as another attempt. Used by the session alone.

The race with the running turn's words: the store is given the number of a waiting turn's end before it is told, and
words may be told meanwhile; the number that it got then goes to the store with the next write.
"""

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from agent_node.audit import Transition
from agent_node.events.entries import READ_BYTES, Single
from agent_node.events.log import EventLog, NumberRange
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import Completed, Failed
from agent_node.session.fenced_writer import FencedWriter
from agent_node.session.interrupted_turns import begun_again
from agent_node.session.missing_events import MissingEvents
from agent_node.session.stored_events import StoredEvents
from agent_node.session.turn_index import TurnEnd, TurnIndex
from agent_node.single_flight import SingleFlight
from agent_node.store import (
    SEQ_RANGE,
    Acceptance,
    EventRow,
    Ownership,
    Store,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
    TurnCommit,
)
from agentring.agent import PastTurn
from agentring.errors import TurnNotFound
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, TURN_STATE_RUNNING, Event

ENDED = (session_pb2.TURN_STATE_COMPLETED, session_pb2.TURN_STATE_FAILED, session_pb2.TURN_STATE_CANCELLED)


class TurnJournal:
    """The turns of one session, by turn_id, and the log in which they are told."""

    def __init__(
        self,
        env: RunEnvironment,
        store: Store,
        stored: StoredSession,
        ownership: Ownership,
        changes: SingleFlight[Hashable, Any],
        failed: Callable[[Exception], None],
        *,
        max_log_bytes: int,
        max_stored_log_bytes: int,
    ) -> None:
        """stored: what the store knows of the session; changes: carries out what must not end half done.
        max_log_bytes: about how much memory its events may take; max_stored_log_bytes: how much a durable store keeps
        of them."""
        self._env = env
        self._store = store
        self._ownership = ownership
        self._changes = changes
        self._writes = FencedWriter(self._check_told, changes, failed)
        self._turns = TurnIndex(stored.turns.values())
        self._accepted = stored.turns_accepted
        self._begun_commit = 0
        """Of the transaction that accepted a turn as running."""
        self._moved: dict[str, StoredTurn] = {}
        """Turns whose ends were told under later numbers than the store has."""
        self._numbers = NumberRange(stored.log_seq, stored.reserved_seq, self._extend_numbers)
        self._kept = StoredEvents(store, stored, max_stored_log_bytes)
        earlier = self._kept if store.durable else None
        self.log = EventLog(ownership.epoch, max_log_bytes, self._numbers, earlier, head_seq=stored.head_seq)
        self.lost = MissingEvents(self.log, self._turns, stored)
        self.stored = replace(stored, turns={})  # those that are known are in `_turns`
        self._take_up()

    @property
    def open_ids(self) -> list[str]:
        """The turns that have not ended, in the order of their acceptance."""
        return [turn.turn_id for turn in self._turns.open]

    def known(self, turn_id: str) -> StoredTurn | None:
        """None: it was never accepted, or ended long ago."""
        return self._turns.get(turn_id)

    def get(self, turn_id: str) -> StoredTurn:
        """Raises TurnNotFound."""
        if (turn := self._turns.get(turn_id)) is None:
            raise TurnNotFound
        return turn

    async def look_up(self, turn_id: str) -> StoredTurn:
        """As `get`, also of turns that ended long ago. Raises TurnNotFound, StoreUnavailable."""
        if (turn := await self.find(turn_id)) is None:
            raise TurnNotFound
        return turn

    async def find(self, turn_id: str) -> StoredTurn | None:
        """As `known`, also of turns that ended long ago. Raises StoreUnavailable."""
        if self._turns.get(turn_id) is None:
            stored = await self._store.read_turn(self._ownership.ref, turn_id)
            if stored is not None and self._turns.get(turn_id) is None:
                self._turns.put(stored)
        return self._turns.get(turn_id)

    def follow(self, turn: StoredTurn) -> TurnEnd:
        """The end of a turn that is known, now or once it has come."""
        return self._turns.follow(turn)

    def check(self) -> None:
        """Raises what a write failed with, what the log was ended with, or NodeFenced: nothing may be stored or told
        any more."""
        self._writes.check()

    async def accept(
        self,
        turn_id: str,
        fingerprint: bytes,
        given: session_pb2.Input,
        accepted: Callable[[], session_pb2.TurnAccepted],
        *,
        again: bool = False,
    ) -> tuple[StoredTurn, bool]:
        """Stores a turn, then tells of it; False: it was accepted long ago, and this changed nothing.

        accepted: what is told of it. Where no turn is ahead it is stored as running, which saves a write. again: it
        may have been accepted, and begun, by another owner: a volatile store knows nothing of that.
        """
        state = TURN_STATE_ACCEPTED if accepted().turns_ahead else TURN_STATE_RUNNING
        raw, deaths = given.SerializeToString(), int(again and not self._store.durable)
        turn = StoredTurn(turn_id, fingerprint, self._accepted + 1, raw, state, 1, 0, deaths=deaths)

        async def write() -> Acceptance:
            nonlocal turn
            turn = replace(turn, accepted_seq=self.log.used_seq + 1)
            head_seq = self._head_seq()
            rows = self._rows(head_seq)
            acceptance = await self._store.accept_turn(self._ownership, turn, head_seq, rows)
            self._keep(rows)
            return acceptance

        acceptance = await self._writes.do(write)
        if acceptance.known is not None:
            self._turns.put(acceptance.known)
            return acceptance.known, False
        self._accepted += 1
        if state == TURN_STATE_RUNNING:
            self._begun_commit = acceptance.commit
        seq = self.log.append(Event(turn_id=turn_id, attempt=1, turn_accepted=accepted()))
        turn = replace(turn, accepted_seq=seq)
        self._turns.put(turn)
        self._audit("turn_accepted", turn, acceptance.commit)
        return turn, True

    async def start(self, turn_id: str) -> StoredTurn:
        """Stores that a turn runs, then tells of it. Raises as `check`."""
        self.check()
        turn = self.get(turn_id)

        def audit(commit: int) -> None:
            self._audit("turn_started", turn, commit, attempt=turn.attempt)

        if turn.state == TURN_STATE_RUNNING:
            audit(self._begun_commit)
        else:
            turn = replace(turn, state=TURN_STATE_RUNNING)
            self._turns.put(turn)
            await self._writes.to_end(lambda: self._store.start_turn(self._ownership, turn), audit)
        started = session_pb2.TurnStarted(node_id=self._env.node_id)
        self.log.append(Event(turn_id=turn_id, attempt=turn.attempt, turn_started=started))
        return turn

    async def start_tool(self, start: ToolStart) -> None:
        """Stores that a tool is about to be called. Cancellation: it is stored all the same."""
        await self._writes.to_end(
            lambda: self._store.start_tool(self._ownership, start),
            lambda commit: self._audit("tool_started", self.get(start.turn_id), commit, tool=start.name),
        )

    async def keep_input(self, asked: StoredInput) -> None:
        """Stores a question, or its answer."""
        await self._writes.do(lambda: self._store.keep_input(self._ownership, asked))

    async def find_input(self, input_id: str) -> StoredInput | None:
        """A question, also of a turn that ended long ago. Raises StoreUnavailable."""
        return await self._store.read_input(self._ownership.ref, input_id)

    async def complete(self, turn_id: str, input_text: str, outcome: Completed) -> None:
        """Stores a turn's outcome and its state, then tells of it."""
        past = PastTurn(input_text, outcome.text)
        state_json = outcome.state_json if outcome.state_json != self.stored.state_json else None
        ended, commit = await self._end(
            turn_id,
            session_pb2.TURN_STATE_COMPLETED,
            Event(turn_completed=outcome.to_event()),
            lambda turn, moved, told: self._store.commit_turn(
                self._ownership, TurnCommit(turn, state_json, past), moved, told
            ),
        )
        history = (*self.stored.history, past)
        self.stored = replace(
            self.stored,
            state_json=outcome.state_json,
            turns_completed=self.stored.turns_completed + 1,
            history=history[max(0, len(history) - self._env.limits.max_history_turns) :],
        )
        self._audit("turn_committed", ended, commit)

    async def fail(self, turn_id: str, outcome: Failed) -> None:
        """Stores that a turn has failed, then tells of it."""
        event = Event(turn_failed=outcome.to_event())
        ended, commit = await self._end(turn_id, session_pb2.TURN_STATE_FAILED, event, self._end_turn)
        self._audit("turn_failed", ended, commit, reason=outcome.reason)

    async def cancel(self, turn_id: str, reason: str) -> None:
        """Stores that a turn was cancelled, then tells of it."""
        event = Event(turn_cancelled=session_pb2.TurnCancelled(reason=reason))
        ended, commit = await self._end(turn_id, session_pb2.TURN_STATE_CANCELLED, event, self._end_turn)
        self._audit("turn_cancelled", ended, commit, reason=reason)

    async def close(self) -> None:
        """Stores that the session is closed."""

        async def write() -> int:
            rows = self._rows(self.log.head_seq)
            commit = await self._store.close_session(self._ownership, self.log.head_seq, rows)
            self._kept.written(rows)
            return commit

        await self._writes.do(write)

    async def release(self) -> None:
        """The last checkpoint; nothing can be stored any more. Turns that have not ended are the next owner's."""

        async def write() -> int:
            # What a turn that is cut off here has told is provisional: the next owner's first event covers it.
            head_seq = self._head_seq()
            rows = self._rows(head_seq)
            commit = await self._store.release(self._ownership, head_seq, self.log.used_seq, rows)
            self._kept.written(rows)
            return commit

        await self._writes.do(write)

    def _check_told(self) -> None:
        self.log.check()
        self._env.lease.check()

    def _take_up(self) -> None:
        """What was told beyond head_seq is void, since it is of a turn that runs. Where none does it is at most an end
        that was told under a later number than it is stored with."""
        cut = next((turn for turn in self._turns.open if turn.state == TURN_STATE_RUNNING), None)
        if cut is not None:
            again, event = begun_again(cut, self.stored)
            self._turns.put(again)
            self.log.append(event)

    def _head_seq(self) -> int | None:
        """Where the story of what has ended ends; None: where it did, since a turn is being told."""
        if any(turn.state == TURN_STATE_RUNNING or turn.attempt > 1 for turn in self._turns.open):
            return None
        return self.log.head_seq

    async def _end(
        self,
        turn_id: str,
        state: session_pb2.TurnState.ValueType,
        event: Event,
        store: Callable[[StoredTurn, Sequence[StoredTurn], Sequence[EventRow]], Awaitable[int]],
    ) -> tuple[StoredTurn, int]:
        turn = self.get(turn_id)
        was_told = turn.state == TURN_STATE_RUNNING
        event.turn_id, event.attempt, event.epoch = turn_id, turn.attempt, self._ownership.epoch
        event.time.FromNanoseconds(time.time_ns())

        async def write() -> int:
            nonlocal turn
            self.log.number(event)
            turn = replace(turn, state=state, input=b"", end_seq=event.seq, outcome=event.SerializeToString())
            rows = self._rows(event.seq if was_told else None, event)
            commit = await store(turn, list(self._moved.values()), rows)
            self._moved.clear()
            self._keep(rows)
            return commit

        commit = await self._writes.do(write)
        seq = self.log.append(event)
        self.log.shrink(READ_BYTES, self._kept.through_seq if self._store.durable else 0)
        if seq != turn.end_seq:
            turn = self._moved[turn_id] = replace(turn, end_seq=seq, outcome=event.SerializeToString())
        self._turns.put(turn)
        return turn, commit

    async def _end_turn(self, turn: StoredTurn, moved: Sequence[StoredTurn], told: Sequence[EventRow]) -> int:
        was_told = self.get(turn.turn_id).state == TURN_STATE_RUNNING
        return await self._store.end_turn(self._ownership, turn, turn.end_seq if was_told else None, moved, told)

    def _rows(self, head_seq: int | None, last: Event | None = None) -> list[EventRow]:
        """What the write that gives the session this head_seq keeps; last: what will be told once it is written."""
        if head_seq is None or not self._store.durable:
            return []
        entries = self.log.entries(self._kept.through_seq)
        if last is not None:
            entries.append(Single.of(last))
        return self._kept.rows(entries)

    def _keep(self, rows: Sequence[EventRow]) -> None:
        if self._kept.written(rows):
            self._changes.begin(TurnJournal._trim, self._trim)

    async def _trim(self) -> None:
        def write() -> Awaitable[Trim]:
            return self._store.trim_events(self._ownership, self._kept.due_bytes)

        self._kept.trimmed(await self._writes.do(write))

    def _extend_numbers(self) -> None:
        self._changes.begin(TurnJournal._extend_numbers, self._extend)

    async def _extend(self) -> None:
        reserved_seq = self._numbers.reserved_seq + SEQ_RANGE
        await self._writes.do(lambda: self._store.extend_range(self._ownership, reserved_seq))
        self._numbers.extend(reserved_seq)

    def _audit(self, transition: Transition, turn: StoredTurn, commit: int, **fields: str | int) -> None:
        ref, epoch = self._ownership.ref, self._ownership.epoch
        self._env.audit.write(transition, ref, epoch=epoch, turn=turn.turn_id, commit=commit, **fields)
