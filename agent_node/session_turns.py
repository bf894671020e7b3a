"""A session's turns: which were accepted, how far each is, how it ended; first in the store, then in the story.

Guarantees: nobody is told of a turn's acceptance or end, and no tool is called, before the store has it; the store is
written to once at a time, only while the lease stands, and never after the log was ended; a turn is known under its
turn_id from its acceptance on, and its last event with it, also where the event log has dropped that and where an
earlier owner ran it. What an earlier owner left is taken up: numbers that it may have used are covered by the first
event, and a turn that it began is begun again as another attempt. Where a write fails, nobody knows what the store has:
`failed` is told, and the session must not go on. Used by the session alone.

The race with the running turn's words: the store is given the number of a waiting turn's end before it is told, and
words may be told meanwhile; the number that it got then goes to the store with the next write.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from agent_node.agent import PastTurn
from agent_node.audit import Transition
from agent_node.event_log import EventLog, NumberRange
from agent_node.shared_calls import SharedCalls
from agent_node.store import SEQ_RANGE, Acceptance, Ownership, Store, StoredSession, StoredTurn, ToolStart, TurnCommit
from agent_node.turn import Completed, Failed, RunEnvironment
from agentring.errors import TurnNotFound
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, TURN_STATE_RUNNING, Event

T = TypeVar("T")

ENDED = (session_pb2.TURN_STATE_COMPLETED, session_pb2.TURN_STATE_FAILED, session_pb2.TURN_STATE_CANCELLED)


class SessionTurns:
    """The turns of one session, by turn_id, and the log in which they are told."""

    def __init__(
        self,
        env: RunEnvironment,
        store: Store,
        stored: StoredSession,
        ownership: Ownership,
        changes: SharedCalls[Hashable, Any],
        failed: Callable[[Exception], None],
        *,
        max_log_bytes: int,
    ) -> None:
        """stored: what the store knows of the session; changes: carries out what must not end half done."""
        self._env = env
        self._store = store
        self._ownership = ownership
        self._changes = changes
        self._failed = failed
        self._failure: Exception | None = None
        self._writing = asyncio.Lock()
        self._turns = dict(stored.turns)
        self._open = {turn.turn_id: None for turn in stored.turns.values() if turn.state not in ENDED}
        self._accepted = stored.turns_accepted
        self._begun_commit = 0
        """Of the transaction that accepted a turn as running."""
        self._moved: dict[str, StoredTurn] = {}
        """Turns whose ends were told under later numbers than the store has."""
        self._numbers = NumberRange(stored.log_seq, stored.reserved_seq, self._extend_numbers)
        self.log = EventLog(ownership.epoch, max_log_bytes, self._numbers)
        self.stored = stored
        self._take_up()

    @property
    def open_ids(self) -> list[str]:
        """The turns that have not ended, in the order of their acceptance."""
        return list(self._open)

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
        if turn_id not in self._turns:
            turn = await self._store.read_turn(self._ownership.ref, turn_id)
            if turn is not None:
                self._turns.setdefault(turn_id, turn)
        return self.get(turn_id)

    def lost_story(self, turn: StoredTurn) -> list[Event]:
        """What can still be told of an ended turn whose last event the log does not have: a gap and the outcome; empty
        where the log has it."""
        outcome = turn.outcome_event()
        if outcome is None or outcome.seq >= max(self.log.oldest_seq, self.stored.log_seq + 1):
            return []
        return [self.log.gap(turn.accepted_seq, outcome.seq - 1), outcome]

    def missed(self, after_seq: int, turn_id: str | None = None) -> list[Event]:
        """What a stream that was sent everything up to after_seq can still be told of turns that have ended since and
        whose last events the log does not have: their outcomes, with gaps for the rest. turn_id: only this turn's."""
        told: list[Event] = []
        turns = self._turns.values() if turn_id is None else (self._turns[turn_id],)
        ended = [turn for turn in turns if turn.end_seq is not None and turn.end_seq > after_seq]
        for turn in sorted(ended, key=lambda turn: turn.end_seq or 0):
            if not (lost := self.lost_story(turn)):
                continue
            if lost[-1].seq > after_seq + 1:
                told.append(self.log.gap(after_seq + 1, lost[-1].seq - 1))
            told.append(lost[-1])
            after_seq = lost[-1].seq
        return told

    def check(self) -> None:
        """Raises what a write failed with, what the log was ended with, or NodeFenced: nothing may be stored or told
        any more."""
        if self._failure is not None:
            raise self._failure
        self.log.check()
        self._env.lease.check()

    async def accept(
        self, turn_id: str, fingerprint: bytes, given: session_pb2.Input, turns_ahead: Callable[[], int]
    ) -> tuple[StoredTurn, bool]:
        """Stores a turn, then tells of it; False: it was accepted long ago, and this changed nothing.

        turns_ahead: how many run or wait before it. Where none does it is stored as running, which saves a write.
        """
        state = TURN_STATE_ACCEPTED if turns_ahead() else TURN_STATE_RUNNING
        turn = StoredTurn(turn_id, fingerprint, self._accepted + 1, given.SerializeToString(), state, 1, 0)

        async def write() -> Acceptance:
            nonlocal turn
            turn = replace(turn, accepted_seq=self.log.head_seq + 1)
            return await self._store.accept_turn(self._ownership, turn, self._head_seq())

        acceptance = await self._write(write)
        if acceptance.known is not None:
            return self._turns.setdefault(turn_id, acceptance.known), False
        self._accepted += 1
        if state == TURN_STATE_RUNNING:
            self._begun_commit = acceptance.commit
        seq = self.log.append(
            Event(turn_id=turn_id, attempt=1, turn_accepted=session_pb2.TurnAccepted(turns_ahead=turns_ahead()))
        )
        turn = self._turns[turn_id] = replace(turn, accepted_seq=seq)
        self._open[turn_id] = None
        self._audit("turn_accepted", turn, acceptance.commit)
        return turn, True

    async def start(self, turn_id: str) -> StoredTurn:
        """Stores that a turn runs, then tells of it. Raises as `check`."""
        self.check()
        turn = self._turns[turn_id]

        def audit(commit: int) -> None:
            self._audit("turn_started", turn, commit, attempt=turn.attempt)

        if turn.state == TURN_STATE_RUNNING:
            audit(self._begun_commit)
        else:
            turn = self._turns[turn_id] = replace(turn, state=TURN_STATE_RUNNING)
            await self._write_to_end(lambda: self._store.start_turn(self._ownership, turn), audit)
        started = session_pb2.TurnStarted(node_id=self._env.node_id)
        self.log.append(Event(turn_id=turn_id, attempt=turn.attempt, turn_started=started))
        return turn

    async def start_tool(self, start: ToolStart) -> None:
        """Stores that a tool is about to be called. Cancellation: it is stored all the same."""
        await self._write_to_end(
            lambda: self._store.start_tool(self._ownership, start),
            lambda commit: self._audit("tool_started", self._turns[start.turn_id], commit, tool=start.name),
        )

    async def complete(self, turn_id: str, input_text: str, outcome: Completed) -> None:
        """Stores a turn's outcome and its state, then tells of it."""
        past = PastTurn(input_text, outcome.text)
        state_json = outcome.state_json if outcome.state_json != self.stored.state_json else None
        ended, commit = await self._end(
            turn_id,
            session_pb2.TURN_STATE_COMPLETED,
            Event(turn_completed=outcome.to_event()),
            lambda turn, moved: self._store.commit_turn(self._ownership, TurnCommit(turn, state_json, past), moved),
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
        await self._write(lambda: self._store.close_session(self._ownership, self.log.head_seq))

    async def release(self) -> None:
        """The last checkpoint; nothing can be stored any more. Turns that have not ended are the next owner's."""

        async def write() -> int:
            # What a turn that is cut off here has told is provisional: the next owner's first event covers it.
            return await self._store.release(self._ownership, self._head_seq(), self.log.head_seq)

        await self._write(write)

    def _take_up(self) -> None:
        stored = self.stored
        cut = next((turn for turn in self._turns.values() if turn.state == TURN_STATE_RUNNING), None)
        first_seq = stored.head_seq + 1
        if cut is not None:
            cut = self._turns[cut.turn_id] = replace(cut, state=TURN_STATE_ACCEPTED, attempt=cut.attempt + 1)
            restarted = session_pb2.AttemptRestarted(reason="NODE_DRAINED" if stored.was_released else "NODE_LOST")
            event = Event(turn_id=cut.turn_id, attempt=cut.attempt, attempt_restarted=restarted)
            self.log.append(event, first_seq=first_seq)
        elif stored.log_seq > stored.head_seq:
            self.log.append(Event(gap=session_pb2.Gap()), first_seq=first_seq)

    def _head_seq(self) -> int | None:
        """Where the story of what has ended ends; None: where it did, since a turn is being told."""
        open_turns = (self._turns[turn_id] for turn_id in self._open)
        if any(turn.state == TURN_STATE_RUNNING or turn.attempt > 1 for turn in open_turns):
            return None
        return self.log.head_seq

    async def _end(
        self,
        turn_id: str,
        state: session_pb2.TurnState.ValueType,
        event: Event,
        store: Callable[[StoredTurn, Sequence[StoredTurn]], Awaitable[int]],
    ) -> tuple[StoredTurn, int]:
        turn = self._turns[turn_id]
        event.turn_id, event.attempt, event.epoch = turn_id, turn.attempt, self._ownership.epoch
        event.time.FromNanoseconds(time.time_ns())

        async def write() -> int:
            nonlocal turn
            event.seq = self.log.head_seq + 1
            turn = replace(turn, state=state, input=b"", end_seq=event.seq, outcome=event.SerializeToString())
            commit = await store(turn, list(self._moved.values()))
            self._moved.clear()
            return commit

        commit = await self._write(write)
        seq = self.log.append(event)
        if seq != turn.end_seq:
            turn = self._moved[turn_id] = replace(turn, end_seq=seq, outcome=event.SerializeToString())
        self._turns[turn_id] = turn
        del self._open[turn_id]
        return turn, commit

    async def _end_turn(self, turn: StoredTurn, moved: Sequence[StoredTurn]) -> int:
        was_told = self._turns[turn.turn_id].state == TURN_STATE_RUNNING
        return await self._store.end_turn(self._ownership, turn, turn.end_seq if was_told else None, moved)

    def _extend_numbers(self) -> None:
        self._changes.begin(SessionTurns._extend_numbers, self._extend)

    async def _extend(self) -> None:
        reserved_seq = self._numbers.reserved_seq + SEQ_RANGE
        await self._write(lambda: self._store.extend_range(self._ownership, reserved_seq))
        self._numbers.extend(reserved_seq)

    def _audit(self, transition: Transition, turn: StoredTurn, commit: int, **fields: str | int) -> None:
        ref, epoch = self._ownership.ref, self._ownership.epoch
        self._env.audit.write(transition, ref, epoch=epoch, turn=turn.turn_id, commit=commit, **fields)

    async def _write_to_end(self, write: Callable[[], Awaitable[int]], audit: Callable[[int], None]) -> None:
        """As `_write`, for what a turn asks for, which may be cancelled meanwhile: writes still go one at a time, and
        what was stored is audited at once."""

        async def to_end() -> None:
            audit(await self._write(write))

        await self._changes.get(object(), to_end)

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        async with self._writing:
            self.check()
            try:
                written = await write()
            except Exception as error:
                self._failure = error
                self._failed(error)
                raise
        self.check()  # what follows is told
        return written
