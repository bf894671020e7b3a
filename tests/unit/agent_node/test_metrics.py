"""What a node counts, and how its audit log makes its condition."""

from types import SimpleNamespace
from typing import Any, cast

from agent_node.audit import ObservedAudit
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.metrics import NodeMetrics
from agentring.cluster.condition import Condition, ConditionBoard, Trouble
from agentring.errors import NodeFenced
from agentring.ids import Incarnation
from harness.clock import FakeClock
from harness.premises import lease_on
from harness.sessions import ListedAudit


class NodeAtWork:
    """What the metrics read of a node: one incarnation, or none."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.renewals_failed = 3
        left = SimpleNamespace(found={"unreadable": 4}, taken={"owner_gone": 1})
        self.duties = SimpleNamespace(orphaned_claims=left)
        self.skew = SimpleNamespace(skew_s=None)
        self.fenced = False

    @property
    def current(self) -> Any:
        if self.fenced:
            raise NodeFenced
        return SimpleNamespace(
            registration=SimpleNamespace(incarnation=42, lease=lease_on(self.clock)),
            host=_Sized(7, running_turns=2),
            task_runs=_Sized(5, running=1),
            quota=None,
        )


class _Sized:
    def __init__(self, size: int, **fields: int) -> None:
        self._size = size
        self.__dict__.update(fields)

    def __len__(self) -> int:
        return self._size


class Stand:
    def __init__(self) -> None:
        self.board = ConditionBoard()
        self.lines = ListedAudit()
        self.audit = ObservedAudit(self.lines, self.board)
        self.node = NodeAtWork()
        self.metrics = NodeMetrics(self.board, self.audit, cast(IncarnationSupervisor, self.node))

    def collected(self) -> dict[str, float]:
        samples = {}
        for family in self.metrics.collect():
            for sample in family.samples:
                label = "".join(f"{{{value}}}" for value in sample.labels.values())
                samples[sample.name.removeprefix("agentring_node_") + label] = sample.value
        return samples


def test_the_audit_log_makes_the_condition() -> None:
    stand = Stand()
    conditions = []
    for transition in ("joined", "claimed", "fenced", "joined", "drain_started", "drain_done"):
        stand.audit.write(cast(Any, transition), reason="NOT_RENEWED")
        conditions.append(str(stand.board.condition))
    assert conditions == ["serving", "serving", "fenced", "serving", "draining", "draining"]
    assert [event for event, _ in stand.lines.lines][:3] == ["joined", "claimed", "fenced"]


def test_transitions_and_fences_are_counted() -> None:
    stand = Stand()
    for _ in range(3):
        stand.audit.write("claimed")
    stand.audit.write("fenced", reason="KEY_GONE")
    samples = stand.collected()
    assert samples["transitions_total{claimed}"] == 3
    assert samples["fences_total{KEY_GONE}"] == 1
    assert samples["claims_left_behind_total{unreadable}"] == 4
    assert samples["claims_taken_over_total{owner_gone}"] == 1


def test_one_state_is_1_and_the_others_0() -> None:
    stand = Stand()
    stand.audit.write("joined")
    stand.board.report(Trouble.NO_SPACE)
    samples = stand.collected()
    assert {word: samples[f"state{{{word}}}"] for word in Condition} == {
        word: float(word is Condition.DEGRADED) for word in Condition
    }
    assert samples["coordinator_trouble{no_space}"] == 1
    assert samples["coordinator_trouble{unavailable}"] == 0


def test_what_the_incarnation_holds_is_told_while_there_is_one() -> None:
    stand = Stand()
    samples = stand.collected()
    counts = [samples[name] for name in ("sessions", "turns_running", "tasks_held", "tasks_running")]
    assert counts == [7, 2, 5, 1]
    assert (samples["incarnation"], samples["lease_left_seconds"], samples["renewals_failed_total"]) == (42, 8, 3)
    stand.node.fenced = True
    samples = stand.collected()
    assert "sessions" not in samples
    assert samples["renewals_failed_total"] == 3


def test_the_incarnation_of_later_lines_is_the_audit_logs() -> None:
    stand = Stand()
    stand.audit.incarnation = Incarnation(9)
    assert stand.lines.incarnation == stand.audit.incarnation == 9
