"""What sessions cost a node that does nothing with them: scripts/bench_sessions, in short."""

from pathlib import Path

from benchmarks.sessions.__main__ import to_text
from benchmarks.sessions.run import measure


async def test_an_idle_session_is_small_and_a_passivated_one_is_activated_at_once(
    etcd_url: str, tmp_path: Path
) -> None:
    found = await measure(etcd_url, tmp_path, stored=1_000, activations=50, idle=400)
    assert found.idle_kib <= 20
    assert found.p50_ms < 50  # on a machine that does other things, too
    assert found.activations == 50
    assert found.p50_ms <= found.p99_ms
    assert "1,000 passivated sessions" in to_text(found)
