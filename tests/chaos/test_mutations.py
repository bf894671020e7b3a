"""Each protection taken away in turn: the checker must say so, or it proves nothing where it says nothing."""

import pytest

from robustness.chaos.cluster.etcd import find_etcd
from robustness.chaos.controls import CONTROLS, run_control


# A control draws anew where nothing was let through: a busy machine may take several tries.
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", CONTROLS)
async def test_the_checker_finds_what_a_missing_protection_lets_through(name: str) -> None:
    violations = await run_control(CONTROLS[name], find_etcd())
    assert {violation.rule for violation in violations} >= CONTROLS[name].breaks, violations
