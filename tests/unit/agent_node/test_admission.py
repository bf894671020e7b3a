"""Bounded load: where new sessions go when the ring would put too many on one node."""

import pytest

from agent_node.admission import FEWEST, share_limit
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId, parse_session
from harness.memberships import node, snapshot

FACTOR = 1.25


def place(counts: dict[NodeId, int], members: MembershipSnapshot, first: int, last: int) -> None:
    """Puts new sessions where a router's walk ends, each on the first of its candidates that takes it."""
    ring = Ring(members)
    for index in range(first, last):
        for candidate in ring.candidates(parse_session("", f"session-{index}").ring_key):
            if counts[candidate.node_id] < share_limit(FACTOR, sum(counts.values()), members, candidate.node_id):
                counts[candidate.node_id] += 1
                break
        else:
            raise AssertionError(f"nobody takes session {index}: {counts}")


def test_no_node_has_more_than_the_factor_times_its_share() -> None:
    members = snapshot(*(node(f"n{index}", weight=1 + index % 2) for index in range(5)))
    counts = dict.fromkeys(members.nodes, 0)
    place(counts, members, 0, 5_000)
    weights = sum(each.weight for each in members.nodes.values())
    for node_id, count in counts.items():
        assert count <= FACTOR * 5_000 * members.nodes[node_id].weight / weights + 1, counts


def test_a_newcomer_fills_first() -> None:
    members = snapshot(*(node(f"n{index}") for index in range(3)))
    counts = dict.fromkeys(members.nodes, 0)
    place(counts, members, 0, 3_000)
    before = dict(counts)
    members = snapshot(*members.nodes.values(), node("new"))
    counts[NodeId("new")] = 0
    place(counts, members, 3_000, 3_500)
    full = {node_id for node_id, count in before.items() if count >= FACTOR * 3_000 / 4}
    assert full
    assert all(counts[node_id] <= max(before[node_id], FACTOR * 3_500 / 4 + 1) for node_id in before)
    assert counts[NodeId("new")] > 1.5 * max(counts[node_id] - before[node_id] for node_id in before)


@pytest.mark.parametrize(("sessions", "limit"), [(0, FEWEST), (50, FEWEST), (399, 250.0)])
def test_chance_among_few_sessions_refuses_nobody(sessions: int, limit: float) -> None:
    members = snapshot(node("a"), node("b"))
    assert share_limit(FACTOR, sessions, members, NodeId("a")) == limit


def test_draining_nodes_have_no_share_and_a_node_that_knows_nobody_no_limit() -> None:
    members = snapshot(node("a"), node("b", active=False))
    assert share_limit(FACTOR, 799, members, NodeId("a")) == 1_000.0
    assert share_limit(FACTOR, 799, members, NodeId("b")) == float("inf")
    assert share_limit(FACTOR, 799, None, NodeId("a")) == float("inf")
