"""One cycle of faults that no other test has, on a real cluster; scripts/chaos runs all of them, for longer."""

import pytest

from harness.postgres import PostgresProcess
from robustness.chaos.cluster.etcd import find_etcd
from robustness.chaos.cluster.world import Plan
from robustness.chaos.run import FAULTS, run_fault

TLS = ("lose-claims", "roll")
"""Faults in which all know one another by certificates."""


@pytest.mark.parametrize(
    "name",
    [
        "pause-long",
        "pause-before-step",
        "store-away",
        "lose-claims",
        "ask-everywhere",
        "roll",
        "poison",
        "halt-cut-off",
        "store-replaced",
    ],
)
async def test_a_fault_leaves_no_session_with_two_owners(name: str) -> None:
    await run_one_cycle(name, Plan(find_etcd(), nodes=2, tls=name in TLS))


async def test_a_late_end_of_a_task_is_refused_by_postgresql(postgres: PostgresProcess) -> None:
    await run_one_cycle("pause-task", Plan(find_etcd(), nodes=2, store=postgres.database()))


async def run_one_cycle(name: str, plan: Plan) -> None:
    outcome = await run_fault(FAULTS[name], plan, seed=1, seconds=1, sessions=6, tasks=1, cycles=1)
    assert outcome.cycles == 1, outcome.complaints
    assert outcome.complaints == []
    assert [str(violation) for violation in outcome.violations] == []
    assert outcome.turns > 20
