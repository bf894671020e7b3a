"""What becomes of a turn that its owner's end cut off: it is run again, as another attempt.

An owner that gave the session up, or that has failed in this session alone, lives; a turn that only waited for an
answer did not end its owner. Where the owner has died otherwise, the turn may be why: that is counted (`deaths`), and
the count outlives later owners. A node that was fenced and lives is taken for one that has died: nobody can know in
time. Used when a session is activated.
"""

from dataclasses import replace

from agent_node.store import StoredSession, StoredTurn
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, Event


def next_attempt(interrupted: StoredTurn, stored: StoredSession) -> tuple[StoredTurn, Event]:
    """The turn as it runs again, and the event that says so. stored: the session as it was activated."""
    died = not (stored.was_released or stored.owner_lives or _waited(interrupted, stored))
    turn = replace(
        interrupted,
        state=TURN_STATE_ACCEPTED,
        attempt=interrupted.attempt + 1,
        deaths=interrupted.deaths + died,
        may_have_steps=True,
    )
    reason = "NODE_DRAINED" if stored.was_released else "NODE_LOST"
    restarted = session_pb2.AttemptRestarted(reason=reason)
    if turn.published:
        last = turn.published[-1]
        restarted.valid_through_seq, restarted.valid_text_bytes = last.seq, last.text_bytes
        restarted.turn_seq, restarted.valid_numbers = turn.accepted_seq, last.numbers
    return turn, Event(turn_id=turn.turn_id, attempt=turn.attempt, attempt_restarted=restarted)


def _waited(turn: StoredTurn, stored: StoredSession) -> bool:
    """Whether it did nothing but wait for an answer when it was cut off."""
    return any(each.turn_id == turn.turn_id and each.answer is None for each in stored.inputs.values())
