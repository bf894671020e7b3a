"""How many tasks a node holds, and how many of them are one tenant's.

Guarantees: the node holds no more keys than it may, and no tenant has more tasks under way here than its share, so that
one that asks for too many leaves room for the others; tasks that are being accepted at one moment may go beyond the
share by as many. What was accepted once is never refused. Owned by `TaskRuns`.
"""

from collections import Counter
from collections.abc import Iterator, Sized

from agent_node.settings import NodeSettings
from agent_node.task.run import TaskRun
from agentring.errors import AgentringError, NodeOverloaded, TooManyTasks
from agentring.ids import TaskRef, TenantId


class TaskQuota:
    """What is taken and what is left."""

    def __init__(self, runs: dict[TaskRef, TaskRun], starts: Sized, settings: NodeSettings, *, durable: bool) -> None:
        """runs, starts: what the node holds and is about to; durable: ended runs need not be held."""
        self._runs = runs
        self._starts = starts
        self._settings = settings
        self._durable = durable
        self._under_way: Counter[TenantId] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether the node holds all the keys it may, those of ended runs included."""
        return len(self._runs) + len(self._starts) >= self._settings.max_tasks

    def refusal(self, tenant: TenantId) -> AgentringError | None:
        """Why the tenant can have no further task begun here; None: it can."""
        if self.is_full and self._first_ended is None:
            return NodeOverloaded()
        return TooManyTasks() if self._under_way[tenant] >= self._settings.max_tenant_tasks else None

    def make(self) -> TaskRun | None:
        """On a volatile store: forgets the run that ended first if the node holds all the keys it may; its claim is
        still to be released."""
        return self._runs.pop(ended.ref) if self.is_full and (ended := self._first_ended) is not None else None

    def forgotten(self, now_s: float) -> Iterator[TaskRun]:
        """Forgets the ended runs whose retention is over, one by one; their claims are still to be released."""
        for run in [run for run in self._runs.values() if run.forget_at_s is not None and run.forget_at_s <= now_s]:
            if self._runs.get(run.ref) is run:
                del self._runs[run.ref]
                yield run

    def begun(self, run: TaskRun) -> None:
        """A run is under way."""
        self._under_way[run.ref.tenant] += 1

    def over(self, run: TaskRun) -> None:
        """It is not any more."""
        self._under_way[run.ref.tenant] -= 1
        if not self._under_way[run.ref.tenant]:
            del self._under_way[run.ref.tenant]

    def clear(self) -> None:
        """None is."""
        self._under_way.clear()

    @property
    def _first_ended(self) -> TaskRun | None:
        if self._durable:
            return None
        return next((run for run in self._runs.values() if run.has_ended), None)
