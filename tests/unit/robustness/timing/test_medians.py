"""What the comparison of pairs says: nothing where there is nothing, and 200 µs where there are."""

import random

import pytest

from robustness.timing.medians import MIN_PAIRS, Difference, median_difference


def measured(seed: int, later: float = 0.0, count: int = 4_000) -> Difference:
    """Of latencies as a busy machine has them: it gets slower and faster, and holds a tenth of the calls up."""
    chosen = random.Random(seed)

    def latency(pair: int) -> float:
        held_up = chosen.expovariate(1 / 5_000) if chosen.random() < 0.1 else 0.0
        return (900 if pair // 500 % 2 else 2_500) + chosen.gauss(0, 150) + held_up

    return median_difference([later + latency(pair) - latency(pair) for pair in range(count)])


def test_the_same_latencies_are_within_the_bound() -> None:
    found = measured(1)
    assert found.is_within(50)
    assert not found.is_beyond(50)


def test_two_hundred_more_are_found() -> None:
    found = measured(1, later=200)
    assert found.is_beyond(50)
    assert found.value == pytest.approx(200, abs=20)


def test_too_little_is_said_to_be_undecided() -> None:
    found = measured(1, later=50, count=MIN_PAIRS)
    assert not found.is_within(50)
    assert not found.is_beyond(50)


def test_the_interval_holds_as_often_as_it_says() -> None:
    found = [measured(seed, count=400) for seed in range(200)]
    assert sum(abs(each.value) <= each.half_width for each in found) >= 180


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        median_difference([1.0] * (MIN_PAIRS - 1))
