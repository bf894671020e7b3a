"""What a durable store costs beside the one in memory: scripts/bench_store, in short."""

from pathlib import Path

from benchmarks.store.__main__ import measure, to_text


async def test_both_stores_take_the_same_load_one_after_the_other(etcd_url: str, tmp_path: Path) -> None:
    (found,) = await measure(etcd_url, tmp_path, rounds=1, turns=1, store="")
    assert min(found.memory_turns_per_s, found.durable_turns_per_s) > 0
    assert 0 < found.memory_p50_ms < 1_000
    assert 0 < found.durable_p50_ms < 1_000
    assert f"ratio {found.ratio:.2f}" in to_text([found])
