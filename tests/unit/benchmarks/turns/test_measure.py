"""What the bench of turns makes of its runs."""

from pathlib import Path

from benchmarks.turns.measure import Sample, median_of
from benchmarks.turns.systems import ROOT, YARDSTICK, find


def test_medians_leave_out_what_failed_and_what_others_did() -> None:
    samples = [
        Sample("memory", "run-turn-1", turns_per_s=rate, cpu_ms=1.0, cpu_ms_by_kind={"node": rate / 100})
        for rate in (100.0, 300.0, 200.0)
    ]
    samples += [
        Sample("memory", "run-turn-1", failure="1 failed"),
        Sample("sqlite", "run-turn-1", turns_per_s=9.0, cpu_ms_by_kind={}),
        Sample("memory", "run-turn-64", turns_per_s=9.0, cpu_ms_by_kind={}),
    ]

    middle = median_of(samples, "memory", "run-turn-1")

    assert middle is not None
    assert (middle.turns_per_s, middle.cpu_ms, middle.cpu_ms_by_kind) == (200.0, 1.0, {"node": 2.0})
    assert median_of(samples[3:4], "memory", "run-turn-1") is None


def test_systems_are_found_by_name() -> None:
    before = {"before": Path("/elsewhere")}

    yardstick, interpreted, other = find(YARDSTICK, {}), find("sqlite-interpreted", {}), find("memory@before", before)

    assert yardstick is not None
    assert interpreted is not None
    assert (interpreted.store, interpreted.compiled, interpreted.source) == ("sqlite", False, ROOT)
    assert other is not None
    assert (other.store, other.compiled, other.source) == ("memory", True, Path("/elsewhere"))
    assert [find(name, before) for name in ("redis", "memory-slow", "memory@after")] == [None] * 3
