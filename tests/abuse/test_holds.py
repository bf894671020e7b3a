"""Who holds much and does little is bounded: in connections, in bytes, in time; and holds back nobody else.

At full size, with the latencies that neighbours notice: scripts/abuse.
"""

import asyncio

import pytest

from agentring.errors import RouterOverloaded
from harness.abuse import STAYED, Outcome, Scene
from harness.abuse_holds import HOLDS
from harness.abuse_neighbours import neighbours
from harness.cluster import Cluster
from robustness.abuse.memory import forget_peak, peak_bytes, resident_bytes

CALM = "ENHANCE_YOUR_CALM"
_MIB = 1 << 20
_STUCK_BYTES = 2 * _MIB
_MARGIN_BYTES = 8 * _MIB


async def attack(cluster: Cluster, name: str, size: int, *, max_bytes: int, seconds: float = 0.0) -> Outcome:
    """Attacks beside neighbours, for the seconds or until it ends, and looks at the router's memory."""
    pid = cluster.routers["r1"].process.pid
    scene = Scene(cluster.router, size)
    async with neighbours(cluster.router):
        forget_peak(pid)
        before_bytes = resident_bytes(pid)
        under_way = asyncio.create_task(asyncio.to_thread(HOLDS[name], scene))
        scene.go.set()
        await asyncio.sleep(seconds)
        scene.over.set()
        outcome = await under_way
        assert peak_bytes(pid) - before_bytes < max_bytes + _MARGIN_BYTES
    return outcome


async def test_idle_connections_cost_little(attacked: Cluster) -> None:
    outcome = await attack(attacked, "idle-connections", 250, max_bytes=250 * (64 << 10))
    assert dict(outcome.ends) == {STAYED: 250}


async def test_connections_beyond_the_limit_are_told_so(attacked: Cluster) -> None:
    outcome = await attack(attacked, "too-many-connections", 350, max_bytes=350 * (64 << 10))
    assert set(outcome.ends) == {STAYED, CALM}
    assert 50 <= outcome.ends[CALM] <= 60  # the neighbours have a few, those of the test before may linger
    assert dict(outcome.why) == {"too many connections": outcome.ends[CALM]}


async def test_a_preface_byte_by_byte_is_not_waited_for(attacked: Cluster) -> None:
    outcome = await attack(attacked, "slow-preface", 20, max_bytes=0)
    assert (dict(outcome.ends), dict(outcome.why)) == ({"SETTINGS_TIMEOUT": 20}, {"no preface or SETTINGS came": 20})


async def test_a_header_block_byte_by_byte_is_not_waited_for(attacked: Cluster) -> None:
    outcome = await attack(attacked, "slow-headers", 20, max_bytes=0, seconds=6)
    assert dict(outcome.ends) == {CALM: 20}


async def test_half_messages_stay_within_the_budget_and_the_oldest_go(attacked: Cluster) -> None:
    outcome = await attack(attacked, "half-messages", 24, max_bytes=24 * _MIB)
    assert dict(outcome.ends) == {STAYED: 1}
    assert set(outcome.statuses) == {str(RouterOverloaded.code.value[0])}
    assert dict(outcome.reasons) == {RouterOverloaded().sentence: outcome.statuses["8"]}
    assert outcome.statuses["8"] >= 16


@pytest.mark.parametrize("name", ["stuck-windows", "stuck-sockets"])
async def test_who_stops_reading_holds_back_nobody_else(attacked: Cluster, name: str) -> None:
    outcome = await attack(attacked, name, 3, max_bytes=3 * _STUCK_BYTES, seconds=2)
    assert set(outcome.ends) == {STAYED}


async def test_windows_that_flip_for_all_streams_at_once(attacked: Cluster) -> None:
    outcome = await attack(attacked, "window-flips", 300, max_bytes=_MARGIN_BYTES)
    assert dict(outcome.ends) == {STAYED: 1}


async def test_a_connection_that_is_gone_with_all_its_streams(attacked: Cluster) -> None:
    outcome = await attack(attacked, "abandoned-streams", 300, max_bytes=_MARGIN_BYTES)
    assert dict(outcome.ends) == {STAYED: 1}
