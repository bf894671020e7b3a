"""Recorded connections, mutated, against a server of our own services: a short run, the same each time. `scripts/fuzz`
goes on for longer."""

from hypothesis import HealthCheck, Phase, given, settings

from harness.http2_services import BROKEN_CALLERS, run_broken_caller


@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(BROKEN_CALLERS)
def test_a_broken_caller_harms_nobody(example: tuple[int, list[int]]) -> None:
    run_broken_caller(example)
