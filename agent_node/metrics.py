"""What a node counts, for Prometheus: its condition, its lease, what it holds, and every kind of state transition.

Transitions are those of the audit log (agent_node/audit.py). Made by the node's app; collected from the
thread that serves them.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent_node.audit import ObservedAudit
from agent_node.child_process.runs import ChildRuns
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.quota.limits_in_use import LimitsInUse
from agent_node.run.restarts import WORDS_DIFFER
from agent_node.run.time_limit import ABANDONED
from agent_node.store.database.counted import CountedDriver
from agent_node.store.storage_counts import STORAGE
from agentring.audit.log_metrics import log_metrics
from agentring.audit.process_log import ProcessLog
from agentring.auth.auth_metrics import auth_metrics
from agentring.auth.authenticator import AuthFile
from agentring.cluster.condition import Condition, ConditionBoard, Trouble
from agentring.errors import NodeDraining, NodeFenced


class NodeMetrics(Collector):
    """Reads the numbers."""

    def __init__(
        self,
        board: ConditionBoard,
        audit: ObservedAudit,
        incarnations: IncarnationSupervisor,
        store: CountedDriver | None = None,
        child_runs: ChildRuns | None = None,
        access: ProcessLog | None = None,
        limits: LimitsInUse | None = None,
        credentials: AuthFile | None = None,
    ) -> None:
        """incarnations: whose sessions and lease are reported; store: the durable one's; None: there is none;
        child_runs: None: there are none; access: None: calls are not written down; limits: of tenants, None: they
        have none; credentials: None: nobody is asked who he is."""
        self._limits = limits
        self._access = access
        self._credentials = credentials
        self._child_runs = child_runs
        self._store = store
        self._board = board
        self._audit = audit
        self._incarnations = incarnations

    def collect(self) -> Iterator[Metric]:
        """As Collector."""
        board, audit = self._board, self._audit
        yield _one_of("state", "Which state the node is in.", "state", tuple(Condition), board.condition)
        yield _one_of("coordinator_trouble", "What is wrong with etcd.", "trouble", tuple(Trouble), board.trouble)
        yield _by("fences", "Fences, by their reason.", "reason", dict(audit.fences))
        yield _by("transitions", "Transitions, by their names in the audit log.", "event", dict(audit.transitions))
        yield _by("runs_failed", "Turns and tasks that failed, by their reason.", "reason", dict(audit.failures))
        yield from log_metrics("agentring_node_", self._access)
        yield from auth_metrics("agentring_node_", self._credentials)
        if self._limits is not None:
            refused = self._limits.refusals
            yield _by("quota_refused", "What limits of tenants have refused.", "limit", dict(refused.by_limit))
            if self._limits.names_tenants:
                about = "The same by tenant, of some; the others' have no name."
                yield _by("quota_refused_tenant", about, "tenant", dict(refused.by_tenant))
        if self._child_runs is not None:
            yield _gauge("runs_apart", "Runs in processes of their own: they may end it.", self._child_runs.running)
            yield CounterMetricFamily("agentring_node_runs_apart_ever", "Runs so begun.", self._child_runs.total)
        yield CounterMetricFamily(
            "agentring_node_renewals_failed",
            "Renewals of the lease that were not acknowledged.",
            value=self._incarnations.renewals_failed,
        )
        orphaned = self._incarnations.duties.orphaned_claims
        about = "Claims whose record names nobody who is registered, or cannot be read, by why."
        yield _by("claims_left_behind", about, "why", dict(orphaned.found))
        yield _by("claims_taken_over", "Such claims that the node has taken.", "why", dict(orphaned.taken))
        if (skew_s := self._incarnations.skew.skew_s) is not None:
            yield _gauge("clock_skew_seconds", "The wall clock's lead over the other nodes'.", skew_s)
        for name, about, count in (
            ("storage_written_bytes", "Bytes of values that agents have stored by key.", STORAGE.written_bytes),
            ("storage_puts", "Values so stored.", STORAGE.puts),
            ("storage_deletes", "Keys that agents have removed.", STORAGE.deletes),
        ):
            yield CounterMetricFamily(f"agentring_node_{name}", about, value=count)
        yield CounterMetricFamily(
            "agentring_node_words_differ", "Runs that said other words than an attempt before.", WORDS_DIFFER.total
        )
        if self._store is not None:
            failures = dict(self._store.failures)
            yield _by("store_failures", "What the store did not carry out, by the error's reason.", "reason", failures)
            failing = self._store.trouble is not None
            yield _gauge("store_failing", "1 from a failure of the store until its next write succeeds.", failing)
        yield _gauge("agents_let_go", "Runs that could not be stopped and still go on.", ABANDONED.running)
        yield CounterMetricFamily(
            "agentring_node_agents_let_go_ever", "Runs that could not be stopped.", ABANDONED.total
        )
        try:
            incarnation = self._incarnations.current
        except (NodeDraining, NodeFenced):
            return
        registration = incarnation.registration
        yield _gauge("incarnation", "The create-revision of the node's key.", registration.incarnation)
        yield _gauge("lease_left_seconds", "Until the fence, if no renewal succeeds.", registration.lease.fence_in_s)
        if incarnation.quota is not None:
            held = GaugeMetricFamily("agentring_node_quota_held", "What tenants have.", labels=("what",))
            for what, count in incarnation.quota.totals().items():
                held.add_metric((what,), count)
            yield held
        yield _gauge("sessions", "Sessions that the node owns.", len(incarnation.host))
        yield _gauge("turns_running", "Turns under way.", incarnation.host.running_turns)
        yield _gauge("tasks_held", "Task keys that the node holds, ended ones included.", len(incarnation.task_runs))
        yield _gauge("tasks_running", "Task runs under way.", incarnation.task_runs.running)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"agentring_node_{name}", about, value=value)


def _one_of(name: str, about: str, label: str, words: tuple[str, ...], word: str | None) -> Metric:
    family = GaugeMetricFamily(f"agentring_node_{name}", about, labels=(label,))
    for each in words:
        family.add_metric((str(each),), each == word)
    return family


def _by(name: str, about: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"agentring_node_{name}", about, labels=(label,))
    for key, count in counts.items():
        family.add_metric((key,), count)
    return family
