"""A session's turns: which were accepted, how far each is, how it ended; first in the store, then in the story.

Guarantees: nobody is told of a turn's acceptance or end before the store has it; the store is written to once at a
time, only while the lease stands, and never after the log was ended; a turn is known under its turn_id from its
acceptance on, and its last event with it, also where the event log has dropped that. Where a write fails, nobody knows
what the store has: `failed` is told, and the session must not go on. Used by the session alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from agent_node.agent import PastTurn
from agent_node.event_log import EventLog
from agent_node.store import Store, StoredSession, StoredTurn, TurnCommit
from agent_node.turn import Completed, Failed, RunEnvironment
from agentring.errors import TurnNotFound
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event

T = TypeVar("T")

ENDED = (session_pb2.TURN_STATE_COMPLETED, session_pb2.TURN_STATE_FAILED, session_pb2.TURN_STATE_CANCELLED)


class SessionTurns:
    """The turns of one session, by turn_id."""

    def __init__(
        self,
        env: RunEnvironment,
        store: Store,
        stored: StoredSession,
        epoch: Epoch,
        log: EventLog,
        failed: Callable[[Exception], None],
    ) -> None:
        """stored: what the store knows of the session; log: where its story is told."""
        self._env = env
        self._store = store
        self._epoch = epoch
        self._log = log
        self._failed = failed
        self._failure: Exception | None = None
        self._writing = asyncio.Lock()
        self._turns = dict(stored.turns)
        self._open = {turn.turn_id: None for turn in stored.turns.values() if turn.state not in ENDED}
        self._outcomes: dict[str, Event] = {}
        """The last event of each turn that has ended."""
        self.stored = stored

    @property
    def open_ids(self) -> list[str]:
        """The turns that have not ended, in the order of their acceptance."""
        return list(self._open)

    def known(self, turn_id: str) -> StoredTurn | None:
        """None: it was never accepted."""
        return self._turns.get(turn_id)

    def get(self, turn_id: str) -> StoredTurn:
        """Raises TurnNotFound."""
        if (turn := self._turns.get(turn_id)) is None:
            raise TurnNotFound
        return turn

    def lost_story(self, turn: StoredTurn) -> list[Event]:
        """What can still be told of an ended turn whose last event the log has dropped: a gap and the outcome; empty
        where the log has it."""
        outcome = self._outcomes.get(turn.turn_id)
        if outcome is None or outcome.seq >= self._log.oldest_seq:
            return []
        return [self._log.gap(turn.accepted_seq, outcome.seq - 1), outcome]

    def check(self) -> None:
        """Raises what a write failed with, what the log was ended with, or NodeFenced: nothing may be stored or told
        any more."""
        if self._failure is not None:
            raise self._failure
        self._log.check()
        self._env.lease.check()

    async def accept(self, turn_id: str, fingerprint: bytes, turns_ahead: Callable[[], int]) -> StoredTurn:
        """Stores a turn, then tells of it. turns_ahead: how many run or wait before it by then."""
        turn = StoredTurn(turn_id, fingerprint, session_pb2.TURN_STATE_ACCEPTED, self._log.head_seq + 1)
        await self._write(lambda: self._store.accept_turn(self.stored.ref, self._epoch, turn))
        accepted = session_pb2.TurnAccepted(turns_ahead=turns_ahead())
        seq = self._log.append(Event(turn_id=turn_id, attempt=1, turn_accepted=accepted))
        turn = self._turns[turn_id] = replace(turn, accepted_seq=seq)
        self._open[turn_id] = None
        self._env.audit.write("turn_accepted", self.stored.ref, epoch=self._epoch, turn=turn_id)
        return turn

    def start(self, turn_id: str) -> None:
        """Tells that a turn runs. Raises as `check`."""
        self.check()
        self._turns[turn_id] = replace(self._turns[turn_id], state=session_pb2.TURN_STATE_RUNNING)
        self._env.audit.write("turn_started", self.stored.ref, epoch=self._epoch, turn=turn_id, attempt=1)
        started = session_pb2.TurnStarted(node_id=self._env.node_id)
        self._log.append(Event(turn_id=turn_id, attempt=1, turn_started=started))

    async def complete(self, turn_id: str, input_text: str, outcome: Completed) -> None:
        """Stores a turn's outcome and its state, then tells of it."""
        ended = self._ended(turn_id, session_pb2.TURN_STATE_COMPLETED)
        commit = TurnCommit(ended, outcome.state_json, PastTurn(input_text, outcome.text))
        ref = self.stored.ref
        self.stored = await self._write(lambda: self._store.commit_turn(ref, self._epoch, commit))
        self._tell_end(ended, Event(turn_completed=outcome.to_event()))
        self._env.audit.write("turn_committed", ref, epoch=self._epoch, turn=turn_id)

    async def fail(self, turn_id: str, outcome: Failed) -> None:
        """Stores that a turn has failed, then tells of it."""
        ended = self._ended(turn_id, session_pb2.TURN_STATE_FAILED)
        await self._write(lambda: self._store.end_turn(self.stored.ref, self._epoch, ended))
        self._tell_end(ended, Event(turn_failed=outcome.to_event()))
        self._env.audit.write("turn_failed", self.stored.ref, epoch=self._epoch, turn=turn_id, reason=outcome.reason)

    async def cancel(self, turn_id: str, reason: str) -> None:
        """Stores that a turn was cancelled, then tells of it."""
        ended = self._ended(turn_id, session_pb2.TURN_STATE_CANCELLED)
        await self._write(lambda: self._store.end_turn(self.stored.ref, self._epoch, ended))
        self._tell_end(ended, Event(turn_cancelled=session_pb2.TurnCancelled(reason=reason)))
        self._env.audit.write("turn_cancelled", self.stored.ref, epoch=self._epoch, turn=turn_id, reason=reason)

    async def close(self) -> None:
        """Stores that the session is closed."""
        await self._write(lambda: self._store.close_session(self.stored.ref, self._epoch))

    def _ended(self, turn_id: str, state: session_pb2.TurnState.ValueType) -> StoredTurn:
        return replace(self._turns[turn_id], state=state, end_seq=self._log.head_seq + 1)

    def _tell_end(self, ended: StoredTurn, event: Event) -> None:
        event.turn_id, event.attempt = ended.turn_id, 1
        self._turns[ended.turn_id] = replace(ended, end_seq=self._log.append(event))
        self._outcomes[ended.turn_id] = event
        del self._open[ended.turn_id]

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
