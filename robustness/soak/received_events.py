"""The events of a session as one client receives them, checked one by one. Pure.

They are right if their numbers have no gap and none comes twice, if each turn ends once, and if the text that is left,
without what an `attempt_restarted` voids, is all of what the agent says.
"""

from dataclasses import dataclass, field

from agentring.v1 import session_pb2


def words_of(tokens: int) -> str:
    """What `echo` says where it is asked for so many tokens."""
    return "".join(f"token{n} " for n in range(tokens))


@dataclass(slots=True)
class ReceivedEvents:
    """One session's, as one client receives them."""

    words: str
    """Of every turn."""
    faults: list[str] = field(default_factory=list)
    restarts: int = 0
    completed: list[str] = field(default_factory=list)
    """The turns that were completed, in that order."""
    _head_seq: int = 0
    _text: str = ""

    def take(self, event: session_pb2.Event) -> str:
        """Takes the next event; the turn_id of the turn that it ends, else empty."""
        if event.seq:
            self._number(event)
        match event.WhichOneof("body"):
            case "turn_started":
                self._text = ""
            case "attempt_restarted":
                self.restarts += 1
                self._text = ""
            case "text_delta":
                if event.text_delta.offset != len(self._text):
                    self.faults.append(f"words at {event.text_delta.offset} follow {len(self._text)} others")
                self._text += event.text_delta.text
            case "turn_completed":
                self._complete(event)
                return event.turn_id
            case "turn_failed" | "turn_cancelled" | "turn_rejected" | "gap" as what:
                self.faults.append(f"{event.turn_id}: ended as {what}")
                return event.turn_id
        return ""

    def _number(self, event: session_pb2.Event) -> None:
        # The first event of a new owner covers all numbers that the one before may have sent, so it may reach back.
        if self._head_seq and not (event.first_seq or event.seq) <= self._head_seq + 1 <= event.seq:
            self.faults.append(
                f"{event.turn_id}: seq {event.first_seq or event.seq}..{event.seq} follows {self._head_seq}"
            )
        self._head_seq = max(self._head_seq, event.seq)

    def _complete(self, event: session_pb2.Event) -> None:
        if event.turn_id in self.completed:
            self.faults.append(f"{event.turn_id}: completed twice")
        self.completed.append(event.turn_id)
        if self._text != self.words:
            self.faults.append(f"{event.turn_id}: {len(self._text)} of {len(self.words)} characters came")
