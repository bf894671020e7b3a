"""How a session's turn ends: completed, failed or cancelled; first in the store, then in the event log.

Guarantees: nobody learns of a turn's end before the store has it. In a durable store the turn's events are stored with
its end.

The race with the running turn's text: the store gets the number of a waiting turn's end before that is published, and
text may be published meanwhile. The end then gets a later number, which goes to the store with the next write
(`renumbered`).
"""

import time

from agent_node.events.entries import READ_BYTES, Single
from agent_node.run.outcome import Completed, Failed
from agent_node.session.state import SessionState
from agent_node.store import StoredTurn, TurnCommit
from agentring.agent import PastTurn
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import (
    TURN_STATE_CANCELLED,
    TURN_STATE_COMPLETED,
    TURN_STATE_FAILED,
    TURN_STATE_RUNNING,
    Event,
)


async def complete(session: SessionState, turn_id: str, input_text: str, outcome: Completed) -> None:
    """Stores a turn's outcome and its state, then publishes it."""
    past = PastTurn(input_text, outcome.text)
    ended, commit = await _end(
        session, turn_id, TURN_STATE_COMPLETED, Event(turn_completed=outcome.to_event()), (outcome.state_json, past)
    )
    stored = session.stored
    stored.state_json = outcome.state_json
    stored.turns_completed += 1
    history = (*stored.history, past)
    stored.history = history[max(0, len(history) - session.env.limits.max_history_turns) :]
    session.audit("turn_committed", ended, commit)


async def fail(session: SessionState, turn_id: str, outcome: Failed) -> None:
    """Stores that a turn has failed, then publishes it."""
    ended, commit = await _end(session, turn_id, TURN_STATE_FAILED, Event(turn_failed=outcome.to_event()))
    session.audit("turn_failed", ended, commit, reason=outcome.reason)


async def cancel(session: SessionState, turn_id: str, reason: str) -> None:
    """Stores that a turn was cancelled, then publishes it."""
    event = Event(turn_cancelled=session_pb2.TurnCancelled(reason=reason))
    ended, commit = await _end(session, turn_id, TURN_STATE_CANCELLED, event)
    session.audit("turn_cancelled", ended, commit, reason=reason)


async def _end(
    session: SessionState,
    turn_id: str,
    state: session_pb2.TurnState.ValueType,
    event: Event,
    completed: tuple[str, PastTurn] | None = None,
) -> tuple[StoredTurn, int]:
    """completed: the state and the history's entry that a completed turn leaves. Returns the turn and the commit."""
    turn, log, ownership = session.turn(turn_id), session.log, session.ownership
    has_run = turn.state == TURN_STATE_RUNNING
    event.turn_id, event.attempt, event.epoch = turn_id, turn.attempt, ownership.epoch
    event.time.FromNanoseconds(time.time_ns())
    async with session.writer:
        log.number(event)
        encoded = Single.of(event)
        turn = turn.ended(state, encoded.seq, encoded.raw)
        head_seq = event.seq if has_run else None
        rows = session.events.rows(log, head_seq, encoded)
        renumbered = list(session.renumbered.values())
        if completed is not None:
            state_json, past = completed
            changed_json = state_json if state_json != session.stored.state_json else None
            turn_commit = TurnCommit(turn, changed_json, past)
            commit = await session.store.commit_turn(ownership, turn_commit, renumbered, rows)
        else:
            commit = await session.store.end_turn(ownership, turn, head_seq, renumbered, rows)
        session.renumbered.clear()
        session.events.written(rows)
    session.events.trim_soon(rows)
    seq = log.append_end(event, encoded)
    log.shrink(READ_BYTES, session.events.through_seq if session.store.durable else 0)
    if seq != turn.end_seq:
        turn = session.renumbered[turn_id] = turn.ended(state, seq, event.SerializeToString())
    session.turns.put(turn)
    session.release_turn(turn_id)
    return turn, commit
