"""Runs that are to be cancelled when nobody has watched them for long enough.

Guarantees: a run is cancelled only after it had no watcher at every look for `timeout_s`, nor a caller that asked for
it meanwhile; a caller that comes while that cancel is being stored gets a new run, not the cancelled one (TaskRuns).
Owned by `TaskRuns`.
"""

from collections.abc import Callable

from agent_node.task.run import TaskRun
from agentring.cluster.clock import Clock


class Unwatched:
    """Runs under way whose callers asked for this."""

    def __init__(self, clock: Clock, timeout_s: float, cancel: Callable[[TaskRun], None]) -> None:
        """timeout_s: how long nobody may watch; cancel: called for a run that has had no watcher for so long, again
        and again until it is over."""
        self._cancel = cancel
        self._clock = clock
        self._timeout_s = timeout_s
        self._since_s: dict[TaskRun, float | None] = {}
        """Since when each has not been watched; None: it is."""

    def add(self, run: TaskRun) -> None:
        """Watches over a run, if it is to be cancelled so."""
        if run.cancel_when_unwatched:
            self._since_s[run] = None

    def reset_time(self, run: TaskRun) -> TaskRun:
        """A caller is about to watch the run, which has the whole time again. One that comes just before the look that
        would cancel it is no reader of its log yet, and would be answered that nobody watched. Returns the run."""
        if run in self._since_s:
            self._since_s[run] = None
        return run

    def discard(self, run: TaskRun) -> None:
        """The run is over."""
        self._since_s.pop(run, None)

    def clear(self) -> None:
        """All are."""
        self._since_s.clear()

    def cancel_due(self) -> None:
        """Looks at all of them. To be called about every second."""
        now_s = self._clock.now_s()
        for run, since_s in self._since_s.items():
            if run.log.readers:
                self._since_s[run] = None
            elif since_s is None:
                self._since_s[run] = now_s
            elif now_s - since_s >= self._timeout_s:
                self._cancel(run)
