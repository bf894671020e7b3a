"""What the bench of turns makes of its runs."""

from pathlib import Path

from benchmarks.router.build import Tools
from benchmarks.turns.loads import LOADS
from benchmarks.turns.measure import Plan, Sample, median_of, run
from benchmarks.turns.systems import ROOT, YARDSTICK, System, find


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


async def test_a_system_that_does_not_start_has_failed_and_the_others_are_measured_no_less(tmp_path: Path) -> None:
    package = tmp_path / "agent_node"
    package.mkdir()
    (package / "__init__.py").touch()  # and no __main__: its nodes end at once
    loads = (LOADS["run-turn-1"], LOADS["converse-1"])
    tools = Tools(tmp_path / "client", tmp_path / "node")
    system = System("memory@before", "memory", source=tmp_path)
    progress: list[tuple[str, int]] = []

    samples = await run(Plan((system,), loads, 2, 1.0, 0.0), tools, lambda each, n: progress.append((each.load, n)))

    assert [(each.system, each.load, bool(each.failure)) for each in samples] == [
        ("memory@before", load, True) for load in ("run-turn-1", "converse-1") * 2
    ]
    assert progress == [("run-turn-1", 1), ("converse-1", 1), ("run-turn-1", 2), ("converse-1", 2)]
