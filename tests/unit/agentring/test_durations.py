"""Seconds on the wire: to the nanosecond, and back."""

import pytest
from google.protobuf.duration_pb2 import Duration

from agentring.durations import to_duration, to_seconds


@pytest.mark.parametrize("seconds", [1e-9, 0.3, 0.999999999, 1.1, 600.0, 86_399.999999999, -0.5])
def test_what_goes_out_comes_back(seconds: float) -> None:
    assert to_seconds(to_duration(seconds)) == pytest.approx(seconds, abs=1e-12)


def test_a_second_is_never_a_thousand_million_nanoseconds() -> None:
    assert to_duration(0.9999999999) == Duration(seconds=1)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e30])
def test_what_is_no_number_of_seconds_is_refused(seconds: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        to_duration(seconds)
