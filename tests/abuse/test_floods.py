"""Who floods a router loses the connection, is told why, and neighbours are served all the while.

At full size, with the latencies that neighbours notice: scripts/abuse.
"""

import asyncio

import pytest

from harness.abuse import SILENT, STAYED, Outcome, Scene
from harness.abuse_floods import FLOODS
from harness.abuse_neighbours import neighbours
from harness.cluster import Cluster
from robustness.abuse.memory import forget_peak, peak_bytes, resident_bytes

CALM = "ENHANCE_YOUR_CALM"
MAX_GROWN_BYTES = 48 << 20

CALMED = {
    "rapid-reset": (20_000, "too many resets"),
    "made-you-reset": (20_000, "too many resets"),
    "opens": (5_000, "too many resets"),
    "continuations": (1_000, "too many continuations"),
    "empty-continuations": (20_000, "too many continuations"),
    "pings": (20_000, "too many pings"),
    "unread-pings": (20_000, "too many pings"),
    "ping-acks": (50_000, "too many idle frames"),
    "settings": (20_000, "too many settings"),
    "unread-settings": (20_000, "too many settings"),
    "empty-data": (50_000, "too many idle frames"),
    "priorities": (50_000, "too many idle frames"),
    "unknown-frames": (50_000, "too many idle frames"),
    "window-updates": (50_000, "too many idle frames"),
    "stream-window-updates": (50_000, "too many idle frames"),
}
"""By attack: its size, and what GOAWAY says."""


async def attack(cluster: Cluster, name: str, size: int) -> Outcome:
    """Attacks once, beside neighbours, and looks at the router's memory."""
    pid = cluster.routers["r1"].process.pid
    async with neighbours(cluster.router):
        forget_peak(pid)
        before_bytes = resident_bytes(pid)
        outcome = await asyncio.to_thread(FLOODS[name], Scene.at_once(cluster.router, size))
        assert peak_bytes(pid) - before_bytes < MAX_GROWN_BYTES
    return outcome


@pytest.mark.parametrize("name", CALMED)
async def test_a_flood_ends_its_own_connection_and_no_other(attacked: Cluster, name: str) -> None:
    size, why = CALMED[name]
    outcome = await attack(attacked, name, size)
    assert (dict(outcome.ends), dict(outcome.why)) == ({CALM: 1}, {why: 1})


async def test_as_many_streams_are_open_as_allowed_and_more_are_refused(attacked: Cluster) -> None:
    outcome = await attack(attacked, "opens", 1_500)
    assert (dict(outcome.ends), outcome.resets["REFUSED_STREAM"]) == ({STAYED: 1}, 500)
    # The others' first message never came, and their time may have run out meanwhile.
    assert set(outcome.statuses) <= {"4"}


async def test_resets_within_the_limits_are_a_clients_right(attacked: Cluster) -> None:
    outcome = await attack(attacked, "rapid-reset-in-limits", 2_000)
    assert dict(outcome.ends) == {STAYED: 2}


async def test_who_asks_and_never_reads_is_let_go(attacked: Cluster) -> None:
    outcome = await attack(attacked, "unread-answers", 200_000)
    assert set(outcome.ends) <= {CALM, SILENT}  # GOAWAY stands behind what it does not read
    assert set(outcome.statuses) <= {"12"}
