"""What an event log has of attempts: where one begins, and what is stored of one that has not ended.

Guarantees: where some of a turn stays valid, the event that says so covers as many numbers more as that has: a stream
whose client does not keep what is valid is told it anew under these (restart_replay.py).
"""

from dataclasses import replace

from agent_node.events.entries import Entry, Single, gap
from agent_node.events.log import EventLog
from agent_node.store.published import Published
from agentring.errors import StoreUnavailable
from agentring.ids import Epoch
from agentring.v1 import session_pb2


class WordsDiffer:
    """Counts the runs of this process that said something else than an attempt before, for the node's metrics."""

    def __init__(self) -> None:
        self.total = 0
        """Since the start."""


WORDS_DIFFER = WordsDiffer()


class ValidNumbers:
    """Counts the numbers of what a turn or a task's run has told and is still valid."""

    def __init__(self, after_seq: int, count: int = 0) -> None:
        """count: of what is valid up to after_seq, from where on everything is."""
        self._after_seq = after_seq
        self._count = count

    def counted(self, published: Published) -> Published:
        """With the count; what an earlier attempt told has it."""
        if published.seq <= self._after_seq:
            return published
        return replace(published, numbers=self._count + published.seq - self._after_seq)

    def append_restart(self, log: EventLog, event: session_pb2.Event) -> bool:
        """As EventLog.append, of an attempt_restarted. False: what stays valid is too much for the numbers that are
        left, so nothing does. Raises as that."""
        is_kept = log.skip(event.attempt_restarted.valid_numbers)
        if not is_kept:
            plain = session_pb2.AttemptRestarted(reason=event.attempt_restarted.reason)
            event.attempt_restarted.CopyFrom(plain)
        self._append(log, event)
        return is_kept

    def append_further(self, log: EventLog, event: session_pb2.Event) -> None:
        """As append_restart, of one that comes within an attempt: what it says is valid has to stay so. Raises
        StoreUnavailable where the numbers that are left are too few."""
        if not log.skip(event.attempt_restarted.valid_numbers):
            raise StoreUnavailable
        self._append(log, event)
        WORDS_DIFFER.total += 1

    def _append(self, log: EventLog, event: session_pb2.Event) -> None:
        log.was_restarted = True
        self._after_seq, self._count = log.append(event), event.attempt_restarted.valid_numbers


def published_through(log: EventLog, after_seq: int, through_seq: int) -> list[Entry]:
    """What was told after a seq up to another, at both of which the log was cut."""
    entries: list[Entry] = []
    for entry in log.entries(after_seq):
        if entry.seq <= through_seq:
            entries.append(entry)
        elif entry.first_seq <= through_seq and isinstance(entry, Single):  # memory has dropped more than that
            entries.append(Single.of(gap(Epoch(entry.event.epoch), entry.first_seq, through_seq)))
    return entries
