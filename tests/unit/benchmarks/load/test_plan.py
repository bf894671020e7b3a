"""What may be asked for, and of whom."""

from typing import Any

import pytest

from benchmarks.load.plan import Plan, PlanError
from benchmarks.load.targets import Targets


@pytest.mark.parametrize(
    "fields",
    [
        {"sessions": 0},
        {"concurrency": 0},
        {"turns": -1},
        {"tokens": -1},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"token_rate": -1.0},
        {"duration_s": 0.0},
        {"duration_s": float("nan")},
        {"turn_timeout_s": 0.0},
        {"turns": 0, "sessions": 2, "concurrency": 1},
        {"session_prefix": "no spaces"},
        {"session_prefix": "x" * 128},
    ],
)
def test_a_plan_that_contradicts_itself(fields: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        Plan(**fields)


def test_the_seed_names_the_sessions() -> None:
    assert Plan(seed=1).session_id(3) == Plan(seed=1).session_id(3)
    assert Plan(seed=1).session_id(3) != Plan(seed=2).session_id(3)
    assert len({Plan(seed=1).session_id(index) for index in range(1000)}) == 1000


def test_turn_ids_are_new_in_every_run() -> None:
    assert Plan(seed=1).turn(0).turn_id != Plan(seed=1).turn(0).turn_id


def test_what_echo_is_asked() -> None:
    assert dict(Plan(tokens=7).turn(0).input.data) == {"tokens": 7}
    assert dict(Plan(tokens=7, token_rate=50.0).turn(0).input.data) == {"tokens": 7, "rate": 50}


def test_only_echo_is_held_to_its_tokens() -> None:
    assert Plan(tokens=7).tokens_expected == 7
    assert Plan(tokens=7, agent="assistant").tokens_expected is None


async def test_calls_alternate_between_routers() -> None:
    async with Targets(["127.0.0.1:1", "127.0.0.1:2"], channels=2) as targets:
        stubs = [targets.stub(number) for number in range(5)]
    assert len(set(map(id, stubs))) == 4
    assert stubs[4] is stubs[0]
