"""How many tasks a node holds, and how many of them are one tenant's.

Guarantees: the node holds no more keys than it may, and no tenant has more tasks under way here than its share, so that
one that asks for too many leaves room for the others; tasks that are being accepted at one moment may go beyond the
share by as many. What was accepted once is never refused. Owned by `TaskRuns`.
"""

from collections import Counter
from collections.abc import Awaitable, Iterable, Sized

from agent_node.quota.quota import Held, Hold, Quota
from agent_node.settings import NodeSettings
from agent_node.task.held import HeldRuns
from agent_node.task.run import TaskRun
from agentring.errors import AgentringError, NodeOverloaded, QuotaExceeded, TooManyTasks
from agentring.ids import TaskRef, TenantId

_Holds = tuple[Hold, Hold]
"""Of a run among the open turns, and of its task."""


class TaskQuota:
    """What is taken and what is left."""

    def __init__(self, held: HeldRuns, starts: Sized, settings: NodeSettings, limits: Quota | None = None) -> None:
        """held, starts: what the node holds and is about to; limits: what its tenants may have of the cluster; None:
        they have no limits."""
        self._limits = limits
        self._accepted: dict[TaskRef, _Holds] = {}
        """Of tasks whose runs are about to begin."""
        self._begun: dict[TaskRun, _Holds] = {}
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

    def accept(self, ref: TaskRef, subject: str, size_bytes: int, free: int) -> QuotaExceeded | None:
        """Counts a task that is about to be accepted, with its input's size, against its tenant's limits; or says why
        it may not be. free: slots that it may run in at once."""
        if (limits := self._limits) is None or ref in self._accepted:
            return None
        try:
            # Invariant: a refused task spends nothing (tests/unit/agent_node/quota/test_quota.py).
            if (refusal := limits.refusal(Held.TASKS, ref.tenant, subject)) is not None:
                return refusal
            turn = limits.accept_turn(ref.tenant, subject, size_bytes, free)
        except QuotaExceeded as refused:
            return refused
        self._accepted[ref] = turn, limits.hold(Held.TASKS, ref.tenant, subject, was_accepted=True)
        return None

    async def starting(self, ref: TaskRef, started: Awaitable[TaskRun]) -> TaskRun:
        """The run; what was counted for it is counted no more unless it has begun then."""
        try:
            return await started
        finally:
            _release(self._accepted.pop(ref, ()))

    def begin(self, run: TaskRun) -> None:
        """Counts a run that is under way."""
        if (limits := self._limits) is not None:
            holds = self._accepted.pop(run.ref, None)
            if holds is None:  # it was accepted before, by another node say
                tenant, subject = run.ref.tenant, run.terms.subject
                task = limits.hold(Held.TASKS, tenant, subject, was_accepted=True)
                holds = limits.resume_turn(tenant, subject), task
            self._begun[run] = holds
        self._under_way[run.ref.tenant] += 1

    def end(self, run: TaskRun) -> None:
        """It is not any more."""
        _release(self._begun.pop(run, ()))
        self._under_way[run.ref.tenant] -= 1
        if not self._under_way[run.ref.tenant]:
            del self._under_way[run.ref.tenant]

    def clear(self) -> None:
        """None is."""
        self._under_way.clear()
        for held in (self._accepted, self._begun):
            for holds in held.values():
                _release(holds)
            held.clear()


def _release(holds: Iterable[Hold]) -> None:
    for hold in holds:
        hold.release()
