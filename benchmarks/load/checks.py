"""What must hold for a session's events beyond a single turn: their numbers have no gap, their owner stays.

Guarantees that every violation is told once, as a Fault, and that after one the check goes on from what was seen, so
that one gap is not told again with every event behind it. Called by `sessions`.
"""

from enum import StrEnum

from agentring.v1 import session_pb2


class Fault(StrEnum):
    """What is wrong with an answer that came."""

    SEQ_GAP = "SEQ_GAP"
    """An event begins behind the number that was due."""
    SEQ_REPEATED = "SEQ_REPEATED"
    """An event covers nothing new."""
    EVENTS_LOST = "EVENTS_LOST"
    """The server says itself (`gap`) that events of a running turn are gone."""
    EPOCH_WENT_BACK = "EPOCH_WENT_BACK"
    """An event of an earlier owner came after one of a later."""
    SESSION_MOVED = "SESSION_MOVED"
    """Another node or another epoch than before."""
    TEXT_GAP = "TEXT_GAP"
    """A text_delta begins behind the end of the text so far."""
    TEXT_REPEATED = "TEXT_REPEATED"
    """A text_delta holds nothing new."""
    TEXT_DIFFERS = "TEXT_DIFFERS"
    """A text_delta repeats a part of the text in other words."""
    TEXT_BYTES_WRONG = "TEXT_BYTES_WRONG"
    """turn_completed.text_bytes is not what came."""
    TOKENS_WRONG = "TOKENS_WRONG"
    """Not as many tokens as were asked for, by the words or by the agent's result."""


class Coverage:
    """Follows the numbers of one stream's events: each begins where the one before it ended."""

    def __init__(self) -> None:
        self._next: int | None = None

    def take(self, event: session_pb2.Event) -> Fault | None:
        """What is wrong with the event's place; None: nothing."""
        if event.seq == 0:
            if event.HasField("opened"):
                self._next = event.opened.head_seq + 1
            return None
        first = event.first_seq if event.HasField("first_seq") else event.seq
        due, self._next = self._next, event.seq + 1
        if due is None or first == due:
            return None
        if first > due:
            return Fault.SEQ_GAP
        if event.seq < due:
            self._next = due
            return Fault.SEQ_REPEATED
        # A resume inside a merged event sends it whole.
        return None


class Owner:
    """Follows who serves one session, over all its streams and turns."""

    def __init__(self, may_move: bool) -> None:
        """`may_move`: a move is counted but is no fault."""
        self.first_node = ""
        """The node that served it first; empty: none has said so."""
        self.moves = 0
        """How often the node or the epoch was another than before."""
        self._may_move = may_move
        self._node = ""
        self._epoch = 0

    def observe(self, node: str = "", epoch: int = 0) -> Fault | None:
        """Takes what one event or header says; empty and 0: it does not say. Returns what is wrong with it."""
        went_back = bool(epoch) and epoch < self._epoch
        moved = (epoch and self._epoch and epoch != self._epoch) or (node and self._node and node != self._node)
        if moved:
            self.moves += 1
            # One move is told twice, as an epoch and as a node: the new owner's name is not known before it comes.
            self._node = ""
        self._epoch = epoch or self._epoch
        self._node = node or self._node
        self.first_node = self.first_node or node
        if went_back:
            return Fault.EPOCH_WENT_BACK
        return Fault.SESSION_MOVED if moved and not self._may_move else None
