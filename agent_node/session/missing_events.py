"""What a stream still learns of events that are lost: that there were some, and how their turns ended.

Lost is what retention has dropped, and what an earlier owner published after its last checkpoint. A turn's last event
is stored with the turn, so its outcome is known all the same. For streams that another node served before, and for
those that ask for a turn itself.
"""

from agent_node.events.log import EventLog
from agent_node.session.turn_index import TurnIndex
from agent_node.store import StoredSession, StoredTurn
from agentring.v1.session_pb2 import Event


class MissingEvents:
    """Of one activation."""

    def __init__(self, log: EventLog, turns: TurnIndex, stored: StoredSession) -> None:
        """stored: the session as the activation found it."""
        self._log = log
        self._turns = turns
        self._head_seq, self._log_seq = stored.head_seq, stored.log_seq

    def of(self, turn: StoredTurn) -> list[Event]:
        """Of an ended turn whose last event cannot be read: a gap and the outcome; empty where it can."""
        outcome = turn.outcome_event()
        if outcome is None or not self._is_lost(outcome.seq):
            return []
        return [self._log.gap(turn.accepted_seq, outcome.seq - 1), outcome]

    def after(self, after_seq: int, turn: StoredTurn | None = None) -> list[Event]:
        """The outcomes that a stream which was sent everything up to after_seq cannot read, with gaps for what else is
        lost. turn: only of this one."""
        missing: list[Event] = []
        for ended in self._turns.ended_after(after_seq) if turn is None else (turn,):
            outcome = ended.outcome_event()
            if outcome is None or outcome.seq <= after_seq or not self._is_lost(outcome.seq):
                continue
            # What an earlier owner published up to its last checkpoint can be read, and is no gap.
            first_seq = max(after_seq, self._head_seq if outcome.seq > self._head_seq else 0) + 1
            if outcome.seq > first_seq:
                missing.append(self._log.gap(first_seq, outcome.seq - 1))
            missing.append(outcome)
            after_seq = outcome.seq
        return missing

    def _is_lost(self, seq: int) -> bool:
        return seq < self._log.oldest_seq or self._head_seq < seq <= self._log_seq
