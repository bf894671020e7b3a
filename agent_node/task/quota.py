"""How many tasks a node holds, and how many of them are one tenant's.

Guarantees: the node holds no more keys than it may, and no tenant has more tasks under way here than its share, so that
one that asks for too many leaves room for the others; tasks that are being accepted at one moment may go beyond the
share by as many. What was accepted once is never refused. Owned by `TaskRuns`.
"""

from collections import Counter
from collections.abc import Sized

from agent_node.settings import NodeSettings
from agent_node.task.held import HeldRuns
from agent_node.task.run import TaskRun
from agentring.errors import AgentringError, NodeOverloaded, TooManyTasks
from agentring.ids import TenantId


class TaskQuota:
    """What is taken and what is left."""

    def __init__(self, held: HeldRuns, starts: Sized, settings: NodeSettings) -> None:
        """held, starts: what the node holds and is about to."""
        self._held = held
        self._starts = starts
        self._settings = settings
        self._under_way: Counter[TenantId] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether the node holds all the keys it may, those of ended runs included."""
        return len(self._held) + len(self._starts) >= self._settings.max_tasks

    def refusal(self, tenant: TenantId) -> AgentringError | None:
        """Why the tenant can have no further task begun here; None: it can."""
        if self.is_full and not self._held.has_evictable:
            return NodeOverloaded()
        return TooManyTasks() if self._under_way[tenant] >= self._settings.max_tenant_tasks else None

    def begin(self, run: TaskRun) -> None:
        """Counts a run that is under way."""
        self._under_way[run.ref.tenant] += 1

    def end(self, run: TaskRun) -> None:
        """It is not any more."""
        self._under_way[run.ref.tenant] -= 1
        if not self._under_way[run.ref.tenant]:
            del self._under_way[run.ref.tenant]

    def clear(self) -> None:
        """None is."""
        self._under_way.clear()
