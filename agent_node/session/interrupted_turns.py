"""What becomes of a turn that its owner's end cut off: it is begun again, as another attempt.

An owner that gave the session up, or that has failed in this session alone, lives; one that only waited for the answer
to a question while the turn did, was not ended by it. Where the owner is gone otherwise, the turn may be why, which is
counted (`deaths`), and outlives the owners that come. A node that was fenced and lives is taken for one that is gone:
nobody can tell in time. Used by journal.py.
"""

from dataclasses import replace

from agent_node.store import StoredSession, StoredTurn
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, Event


def begun_again(cut: StoredTurn, stored: StoredSession) -> tuple[StoredTurn, Event]:
    """The turn as it is to be begun, and what is told of it. stored: the session as it was taken up."""
    died = not (stored.was_released or stored.owner_lives or _waited(cut, stored))
    again = replace(cut, state=TURN_STATE_ACCEPTED, attempt=cut.attempt + 1, deaths=cut.deaths + died)
    reason = "NODE_DRAINED" if stored.was_released else "NODE_LOST"
    restarted = session_pb2.AttemptRestarted(reason=reason)
    return again, Event(turn_id=again.turn_id, attempt=again.attempt, attempt_restarted=restarted)


def _waited(turn: StoredTurn, stored: StoredSession) -> bool:
    """Whether it did nothing but wait for an answer when it was cut off."""
    return any(each.turn_id == turn.turn_id and each.answer is None for each in stored.inputs.values())
