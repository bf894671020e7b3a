"""Nodes that come and go: when they stand on the ring again."""

from dataclasses import replace

from agentring.cluster.flapping import FIRST_HOLD_S, LONGEST_HOLD_S, MOST_JOINS, WINDOW_S, Flapping
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import Incarnation
from harness.memberships import node, snapshot


def joined(incarnation: int) -> MembershipSnapshot:
    """A steady node, and one in some incarnation."""
    return snapshot(node("steady"), replace(node("flapping"), incarnation=Incarnation(incarnation)))


GONE = snapshot(node("steady"))


def on_ring(flapping: Flapping, members: MembershipSnapshot, now_s: float) -> set[str]:
    return set(flapping.steady(members, now_s)[0].nodes)


def flapped(flapping: Flapping, joins: int, *, every_s: float = 1.0) -> float:
    """After so many joins; the last one's time."""
    for index in range(joins):
        on_ring(flapping, joined(index + 1), index * every_s)
        if index < joins - 1:
            on_ring(flapping, GONE, index * every_s + every_s / 2)
    return (joins - 1) * every_s


def test_a_few_restarts_are_no_reason_to_wait() -> None:
    flapping = Flapping()
    for index in range(MOST_JOINS):
        assert on_ring(flapping, joined(index + 1), float(index)) == {"steady", "flapping"}
        assert on_ring(flapping, GONE, index + 0.5) == {"steady"}


def test_one_more_must_stay_first_and_then_stands_on_the_ring() -> None:
    flapping = Flapping()
    last_s = flapped(flapping, MOST_JOINS + 1)
    steady, due_s = flapping.steady(joined(MOST_JOINS + 1), last_s)
    assert (set(steady.nodes), due_s) == ({"steady"}, last_s + FIRST_HOLD_S)
    assert flapping.held == {"flapping"}
    assert due_s is not None
    assert on_ring(flapping, joined(MOST_JOINS + 1), due_s) == {"steady", "flapping"}
    assert flapping.held == frozenset()


def test_each_further_one_stays_twice_as_long_up_to_a_bound() -> None:
    holds = []
    for joins in range(MOST_JOINS + 1, MOST_JOINS + 8):
        flapping = Flapping()
        last_s = flapped(flapping, joins)
        due_s = flapping.steady(joined(joins), last_s)[1]
        assert due_s is not None
        holds.append(due_s - last_s)
    assert holds[:4] == [FIRST_HOLD_S * 2**doubled for doubled in range(4)]
    assert holds[-1] == LONGEST_HOLD_S


def test_a_node_that_was_quiet_is_as_good_as_new() -> None:
    flapping = Flapping()
    last_s = flapped(flapping, MOST_JOINS + 5)
    on_ring(flapping, GONE, last_s + 1)
    assert on_ring(flapping, joined(99), last_s + WINDOW_S + 1) == {"steady", "flapping"}


def test_a_ring_is_never_empty_for_it() -> None:
    flapping = Flapping()
    for index in range(MOST_JOINS + 3):
        lone = snapshot(replace(node("flapping"), incarnation=Incarnation(index + 1)))
        assert on_ring(flapping, lone, float(index)) == {"flapping"}


def test_routers_that_saw_the_same_come_to_the_same_ring() -> None:
    one, other = Flapping(), Flapping()
    flapped(one, MOST_JOINS + 2)
    last_s = flapped(other, MOST_JOINS + 2, every_s=1.01)
    members = joined(MOST_JOINS + 2)
    later_s = last_s + LONGEST_HOLD_S
    assert on_ring(one, members, later_s) == on_ring(other, members, later_s) == {"steady", "flapping"}


def test_a_drained_node_that_waits_is_not_one_that_comes() -> None:
    flapping = Flapping()
    for index in range(MOST_JOINS):
        assert on_ring(flapping, joined(2 * index + 1), float(index)) == {"steady", "flapping"}
        waits = replace(node("flapping"), incarnation=Incarnation(2 * index + 2), active=False, drained=True)
        flapping.steady(snapshot(node("steady"), waits), index + 0.5)
    assert not flapping.held
