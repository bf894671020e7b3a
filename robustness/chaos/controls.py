"""The mutation controls: each takes one protection away and goes through a fault that it protects from.

The checker must then find what the control says it breaks. Without the mutation the same fault must leave nothing to
find: that is what tests/chaos/test_faults.py and scripts/chaos run.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from robustness.chaos.cluster.world import Plan
from robustness.chaos.faults.fault import VOLATILE
from robustness.chaos.run import FAULTS, run_fault
from robustness.chaos.validate.checker import ANSWERS
from robustness.chaos.validate.violation import Violation

_LONG_STEPS = 60
"""Turns that are still under way when their node goes on."""


@dataclass(frozen=True, slots=True)
class Control:
    """One protection."""

    mutation: str
    """Name of mutations.py; of the nodes, unless of_routers."""
    fault: str
    breaks: frozenset[str]
    """Rules that it must be caught by."""
    store: str = ""
    """As Plan.store. An SQL store rejects what a missing fence lets through: that control needs the volatile one."""
    of_routers: bool = False
    ttl_s: int = 3
    tasks: int = 0
    """Pairs of clients with a task each."""
    steps: int = _LONG_STEPS
    """Of a turn."""


CONTROLS = {
    "the fence": Control("no-fence", "pause-long", frozenset({"I1", "stickiness"}), VOLATILE),
    "never extended late": Control("extend-late", "pause-in-renewal", frozenset({"I1"}), VOLATILE),
    "the SQL compare": Control("no-compare", "pause-before-tool", frozenset({"I1"})),
    "raise, then read": Control("read-before-raise", "raise-race", frozenset({"I2"})),
    "routers drop old epochs": Control(
        "no-memory-of-epochs", "stale-owner", frozenset({ANSWERS}), VOLATILE, of_routers=True
    ),
    "the SQL compare of tasks": Control("no-task-compare", "pause-task", frozenset({"I4"}), tasks=4),
    "a task's claim": Control("no-task-claims", "ask-everywhere", frozenset({"I1", "stickiness"}), VOLATILE),
    "a task's end is kept": Control("no-memory-of-ends", "ask-everywhere", frozenset({"I4"})),
    "a step's result is kept": Control("no-memory-of-steps", "kill-once", frozenset({"I4"})),
    "a run's recorded steps": Control("no-memory-of-outcomes", "kill", frozenset({"S1"})),
    "a step that must not run twice": Control("no-memory-of-starts", "kill", frozenset({"S2"}), steps=24),
    "what was said": Control("no-memory-of-words", "kill", frozenset({"S4"}), steps=24),
    "the SQL compare of steps": Control("no-step-compare", "pause-before-step", frozenset({"I1"})),
    "what ended a node runs apart": Control("nothing-apart", "poison", frozenset({"poison"}), ttl_s=2),
    "a halt": Control("no-halts", "halt", frozenset({"halt"})),
    "the sweep of tasks": Control("no-task-sweep", "leave-tasks", frozenset({"I5"}), ttl_s=2),
}


_TRIES = 3
"""With a seed each. A fault meets the moment that a protection is for mostly, on a loaded machine less often."""


async def run_control(control: Control, etcd: Path) -> list[Violation]:
    """The violations that the checker found, of the first run that broke what was to be broken, or of the last."""
    violations: list[Violation] = []
    for seed in range(1, _TRIES + 1):
        violations = await _run(control, etcd, seed)
        if {violation.rule for violation in violations} >= control.breaks:
            break
    return violations


async def _run(control: Control, etcd: Path, seed: int) -> list[Violation]:
    plan = Plan(etcd, ttl_s=control.ttl_s, nodes=2, routers=1, store=control.store)
    fault = replace(FAULTS[control.fault], steps=control.steps)
    if control.of_routers:
        plan = replace(plan, alter_routers=(control.mutation,))
    else:  # the fault's own failpoint is part of the mutation
        fault, plan = replace(fault, alter=()), replace(plan, alter=(control.mutation,))
    outcome = await run_fault(fault, plan, seed=seed, seconds=1, sessions=8, tasks=control.tasks, cycles=1)
    return outcome.violations
