"""A short soak of tasks, on a real cluster; scripts/soak_tasks runs the long one."""

from pathlib import Path

from robustness.soak.task_callers import Plan
from robustness.soak.tasks import FAULTS, soak

TASKS, DUPLICATES = 100, 5
SEEDS = (1, 2, 3)
"""On a machine that is busy a kill may hit nobody: then once more."""


async def test_tasks_asked_for_again_and_again_while_nodes_are_killed_are_run_once_and_told_to_all(
    tmp_path: Path,
) -> None:
    plan = Plan(TASKS, DUPLICATES, spread_s=2.0, steps=20, left=0.1)
    for seed in SEEDS:
        directory = tmp_path / str(seed)
        directory.mkdir()
        found = await soak(
            plan, workers=25, disturb="kill", every_s=3.0, store="sqlite", ttl=2, seed=seed, directory=directory
        )
        assert {kind: found[kind] for kind in FAULTS} == {kind: [] for kind in FAULTS}, found
        assert found["disturbed"] >= 1
        assert found["callers"] == (TASKS - found["left"]) * (DUPLICATES + 1)
        assert found["left"] > 0
        if found["restarted"]:
            return
    raise AssertionError(f"no run lost its node in {len(SEEDS)} soaks")
