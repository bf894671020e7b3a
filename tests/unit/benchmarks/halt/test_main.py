"""What `scripts/bench_halt` takes for a failure."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.halt.__main__ import Found, percentile

WELL = Found(confirmed_s=[0.02] * 100, last_start_s=[0.0] * 300, list_s=[0.01] * 100)


def test_the_percentile_is_one_of_the_times() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([float(each) for each in range(1, 101)], 99) == 99.0
    assert percentile([7.0], 99) == percentile([7.0], 0) == 7.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"confirmed_s": [0.02] * 98 + [0.6] * 2},
        {"last_start_s": [0.0] * 295 + [0.6] * 5},
        {"list_s": [0.01, 1.1]},
        {"late": 1},
        {"unconfirmed": 1},
        {"not_listed": 1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_each_of_them_alone_is_one(wrong: dict[str, Any]) -> None:
    assert WELL.passed
    assert not replace(WELL, **wrong).passed
