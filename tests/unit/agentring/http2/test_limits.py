"""The buckets that count what a peer may do."""

import pytest

from agentring.http2.frames import Code
from agentring.http2.limits import Bucket, Rate, TooMany


def taken(bucket: Bucket, now_s: float) -> int:
    count = 0
    while True:
        try:
            bucket.take(now_s)
        except TooMany:
            return count
        count += 1


def test_a_burst_may_come_at_once_and_no_more() -> None:
    assert taken(Bucket("pings", Rate(7, 2), 100.0), 100.0) == 7


def test_then_so_many_a_second() -> None:
    bucket = Bucket("pings", Rate(7, 2), 100.0)
    assert taken(bucket, 100.0) == 7
    assert taken(bucket, 101.5) == 3
    assert taken(bucket, 101.5) == 0


def test_never_more_than_a_burst_is_saved_up() -> None:
    bucket = Bucket("pings", Rate(7, 2), 100.0)
    assert taken(bucket, 100.0) == 7
    assert taken(bucket, 1_000.0) == 7


def test_what_comes_at_the_rate_is_never_too_much() -> None:
    bucket = Bucket("pings", Rate(2, 4), 0.0)
    for step in range(1_000):
        bucket.take(step * 0.25)


def test_the_peer_is_told_what_was_too_much() -> None:
    bucket = Bucket("pings", Rate(0, 0), 0.0)
    with pytest.raises(TooMany) as raised:
        bucket.take(5.0)
    assert (raised.value.code, raised.value.what, raised.value.why) == (
        Code.ENHANCE_YOUR_CALM,
        "pings",
        "too many pings",
    )
