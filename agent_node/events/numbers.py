"""The numbers of events: which a log may use, and how an event has its own."""

from collections.abc import Callable

from agentring.v1 import session_pb2

NO_END = 1 << 63


class NumberRange:
    """The numbers that a log may use: those after log_seq up to reserved_seq."""

    def __init__(self, log_seq: int, reserved_seq: int, runs_low: Callable[[], None]) -> None:
        """runs_low: called with every event of the range's second half; it sees to it that `extend` is called."""
        self.log_seq = log_seq
        self.runs_low = runs_low
        self.extend(reserved_seq)

    def extend(self, reserved_seq: int) -> None:
        """From now on numbers up to reserved_seq may be used."""
        self.low_seq = reserved_seq - (reserved_seq - self.log_seq) // 2
        self.reserved_seq = reserved_seq


def number(event: session_pb2.Event, seq: int, known_seq: int) -> None:
    """Gives an event this number. known_seq: the last one that readers know of: the event covers those in between."""
    event.seq = seq
    event.ClearField("first_seq")  # it may have been numbered before
    if seq > known_seq + 1:
        event.first_seq = known_seq + 1
