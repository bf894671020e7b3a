"""A node's own port under attack, as a router's: the attacker alone loses its connection, and others are served.

What one connection may do is more there, since a router's carries the calls of all its clients.
"""

import asyncio

import pytest

from harness.abuse import SILENT, STAYED, Outcome, Scene
from harness.abuse_floods import FLOODS
from harness.abuse_holds import HOLDS
from harness.abuse_neighbours import neighbours
from harness.cluster import Cluster
from robustness.abuse.memory import forget_peak, peak_bytes, resident_bytes

CALM = "ENHANCE_YOUR_CALM"
MAX_GROWN_BYTES = 64 << 20

CALMED = {
    "rapid-reset": (40_000, "too many resets"),
    "made-you-reset": (40_000, "too many resets"),
    "continuations": (1_000, "too many continuations"),
    "empty-continuations": (20_000, "too many continuations"),
    "pings": (20_000, "too many pings"),
    "unread-pings": (20_000, "too many pings"),
    "settings": (20_000, "too many settings"),
    "unread-settings": (20_000, "too many settings"),
    "ping-acks": (300_000, "too many idle frames"),
    "empty-data": (300_000, "too many idle frames"),
    "priorities": (300_000, "too many idle frames"),
    "unknown-frames": (300_000, "too many idle frames"),
    "window-updates": (300_000, "too many idle frames"),
}
"""By attack: its size, and what GOAWAY says."""


async def attack(cluster: Cluster, name: str, size: int) -> Outcome:
    """Attacks the node, which serves the router's neighbours and its own meanwhile, and looks at its memory."""
    node = cluster.nodes["n1"]
    async with neighbours(cluster.router), neighbours(node.address):
        forget_peak(node.process.pid)
        before_bytes = resident_bytes(node.process.pid)
        outcome = await asyncio.to_thread((FLOODS | HOLDS)[name], Scene.at_once(node.address, size))
        assert peak_bytes(node.process.pid) - before_bytes < MAX_GROWN_BYTES
    return outcome


@pytest.mark.parametrize("name", CALMED)
async def test_a_flood_ends_its_own_connection_and_no_other(attacked: Cluster, name: str) -> None:
    size, why = CALMED[name]
    outcome = await attack(attacked, name, size)
    assert (dict(outcome.ends), dict(outcome.why)) == ({CALM: 1}, {why: 1})


async def test_who_asks_and_never_reads_is_let_go(attacked: Cluster) -> None:
    outcome = await attack(attacked, "unread-answers", 200_000)
    assert set(outcome.ends) <= {CALM, SILENT}  # GOAWAY stands behind what it does not read
    assert set(outcome.statuses) <= {"12"}


async def test_a_preface_byte_by_byte_is_not_waited_for(attacked: Cluster) -> None:
    outcome = await attack(attacked, "slow-preface", 20)
    assert (dict(outcome.ends), dict(outcome.why)) == ({"SETTINGS_TIMEOUT": 20}, {"no preface or SETTINGS came": 20})


@pytest.mark.parametrize("name", ["idle-connections", "window-flips", "abandoned-streams"])
async def test_who_holds_much_holds_back_nobody(attacked: Cluster, name: str) -> None:
    outcome = await attack(attacked, name, 200)
    assert set(outcome.ends) == {STAYED}
