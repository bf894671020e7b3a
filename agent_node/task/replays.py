"""Ended tasks that are told again: the latest, in memory, so that a burst of late callers reads the store once.

Guarantees: none is kept beyond its retention, nor all together beyond a bound; the ones asked for last stay. An ended
task does not change while its outcome stands, so these need no claim. Owned by `TaskRuns`, on a durable store.
"""

from collections import OrderedDict

from agent_node.run.outcome import Completed
from agent_node.task.run import TaskRun
from agentring.ids import TaskRef

MAX_BYTES = 64 << 20
_RUN_BYTES = 2 << 10
"""What a run takes beside its events."""


class EndedTaskCache:
    """Ended runs by task."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        """max_bytes: about how much memory they may take."""
        self._runs: OrderedDict[TaskRef, TaskRun] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._runs)

    def get(self, ref: TaskRef, now_s: float) -> TaskRun | None:
        """The ended task; None: it is not here, or its retention is over."""
        run = self._runs.get(ref)
        if run is None:
            return None
        if run.forget_at_s is not None and run.forget_at_s <= now_s:
            self.discard(ref)
            return None
        self._runs.move_to_end(ref)
        return run

    def put(self, run: TaskRun) -> None:
        """Keeps one, and lets go of those that were not asked for in the longest time."""
        self.discard(run.ref)
        self._runs[run.ref] = run
        self._bytes += _size_bytes(run)
        while self._bytes > self._max_bytes:
            self.discard(next(iter(self._runs)))

    def discard(self, ref: TaskRef) -> None:
        """Lets go of one."""
        if (run := self._runs.pop(ref, None)) is not None:
            self._bytes -= _size_bytes(run)


def _size_bytes(run: TaskRun) -> int:
    text_bytes = run.outcome.text_bytes if isinstance(run.outcome, Completed) else 0
    return run.log.size_bytes + text_bytes + _RUN_BYTES
