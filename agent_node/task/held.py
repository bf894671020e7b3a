"""The tasks whose keys this node holds.

Guarantees: a task has one run here at most; its entry is added and removed here alone, and whatever removes it returns
the run, so that its claim can be released. On a volatile store, which no other node can read, an ended run keeps its
key until it is evicted: later calls are led here. Owned by `TaskRuns`.
"""

from collections.abc import Iterator

from agent_node.task.run import TaskRun
from agentring.errors import AgentringError
from agentring.ids import TaskRef


class HeldRuns:
    """Runs by task: those under way; on a volatile store also those that have ended, in the order of their ends."""

    def __init__(self, *, durable: bool) -> None:
        """durable: ended runs are not held."""
        self._runs: dict[TaskRef, TaskRun] = {}
        self._durable = durable

    def __len__(self) -> int:
        """How many keys this node holds."""
        return len(self._runs)

    def __contains__(self, ref: object) -> bool:
        """Whether this node holds the key."""
        return ref in self._runs

    def get(self, ref: TaskRef) -> TaskRun | None:
        """The key's run."""
        return self._runs.get(ref)

    def under_way(self) -> list[TaskRun]:
        """Those that have not ended. Also counted from the thread that serves the metrics, hence the copy."""
        return [run for run in tuple(self._runs.values()) if not run.has_ended]

    def add(self, run: TaskRun) -> None:
        """A run is about to begin; its key has none."""
        self._runs[run.ref] = run

    def end(self, run: TaskRun, *, is_result: bool) -> bool:
        """A run has ended or was dropped; is_result: later callers get it. Whether its key stays held."""
        # Invariant: a run removes no entry but its own (tests/unit/agent_node/task/test_held.py).
        if self._runs.get(run.ref) is not run:
            return False
        del self._runs[run.ref]
        if not is_result or self._durable:
            return False
        self._runs[run.ref] = run  # at the end of the mapping, which so has ended runs in the order of their ends
        return True

    @property
    def has_evictable(self) -> bool:
        """Whether `evict_first_ended` finds one."""
        return self._first_ended is not None

    def evict_first_ended(self) -> TaskRun | None:
        """Removes the run that ended first."""
        return self._runs.pop(first.ref) if (first := self._first_ended) is not None else None

    def evict_expired(self, now_s: float) -> Iterator[TaskRun]:
        """Removes the ended runs whose retention is over, one by one."""
        for run in [run for run in self._runs.values() if run.forget_at_s is not None and run.forget_at_s <= now_s]:
            if self._runs.get(run.ref) is run:
                del self._runs[run.ref]
                yield run

    def drop_all(self, error: AgentringError) -> None:
        """Drops every run and removes it; the claims end with the lease."""
        for run in self._runs.values():
            run.drop(error)
        self._runs.clear()

    @property
    def _first_ended(self) -> TaskRun | None:
        if self._durable:
            return None
        return next((run for run in self._runs.values() if run.has_ended), None)
