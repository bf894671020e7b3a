"""Where a call is sent, and where next."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from agentring.errors import (
    AgentNotFound,
    CoordinatorUnavailable,
    NodeDraining,
    NodeOverloaded,
    NodeUnreachable,
    NoNodes,
    OwnerUnreachable,
    SessionMoving,
)
from agentring.ids import NodeId, parse_session
from harness.clock import FakeClock
from harness.memberships import EmptyView, FixedView, node
from router.routing.owner import RECENT_S, OwnerLookup, Target

REF = parse_session("", "s")


def target(name: str) -> Target:
    return Target(NodeId(name), f"{name}:1")


def ring_order(view: FixedView) -> list[Target]:
    return [target(each.node_id) for each in view.ring.candidates(REF.ring_key)]


def test_the_rings_first_candidate_is_asked_first() -> None:
    view = FixedView(node("a"), node("b"), node("c"))
    assert OwnerLookup(view, 10).walk(REF, "echo").first() == ring_order(view)[0]


def test_a_redirect_is_followed_and_remembered() -> None:
    view = FixedView(node("a"), node("b"), node("c"))
    lookup = OwnerLookup(view, 10)
    walk = lookup.walk(REF, "")
    first, owner = walk.first(), ring_order(view)[2]
    assert first != owner
    assert walk.redirected(owner) == owner
    assert lookup.walk(REF, "").first() == owner


def test_two_redirects_are_followed_and_no_third() -> None:
    view = FixedView(node("a"), node("b"))
    walk = OwnerLookup(view, 10).walk(REF, "")
    first, second = ring_order(view)
    assert walk.first() == first
    assert walk.redirected(second) == second
    assert walk.redirected(first) == first
    with pytest.raises(SessionMoving):
        walk.redirected(second)


def test_a_redirect_to_a_node_outside_of_the_snapshot_is_followed() -> None:
    walk = OwnerLookup(FixedView(node("a")), 10).walk(REF, "")
    walk.first()
    assert walk.redirected(target("newcomer")) == target("newcomer")


def test_a_redirect_to_a_node_that_could_not_be_reached_says_so() -> None:
    view = FixedView(node("a"), node("b"))
    lookup = OwnerLookup(view, 10)
    walk = lookup.walk(REF, "")
    dead, alive = ring_order(view)
    assert walk.first() == dead
    assert walk.unreachable(dead) == alive
    with pytest.raises(OwnerUnreachable):
        walk.redirected(dead)
    assert lookup.walk(REF, "").first() == dead  # nothing wrong was remembered


def test_an_owner_that_cannot_be_reached_is_not_said_to_be_moving() -> None:
    view = FixedView(node("a"), node("b"), node("c"))
    walk = OwnerLookup(view, 10).walk(REF, "")
    walk.first()
    owner = ring_order(view)[1]
    walk.redirected(owner)
    with pytest.raises(OwnerUnreachable):
        walk.unreachable(owner)


def test_every_candidate_is_visited_once_past_unreachable_ones() -> None:
    view = FixedView(node("a"), node("b"), node("c"))
    walk = OwnerLookup(view, 10).walk(REF, "")
    visited = [walk.first()]
    visited.append(walk.unreachable(visited[-1]))
    visited.append(walk.unreachable(visited[-1]))
    assert visited == ring_order(view)
    with pytest.raises(NodeUnreachable):
        walk.unreachable(visited[-1])


@pytest.mark.parametrize(
    ("refusals", "error"),
    [
        (("draining", "draining"), NodeDraining),
        (("draining", "overloaded"), NodeOverloaded),
        (("overloaded", "draining"), NodeOverloaded),
        (("agent=echo", "agent=echo"), AgentNotFound),
    ],
)
def test_refusals_walk_on_and_the_one_that_says_most_is_told(refusals: tuple[str, str], error: type[Exception]) -> None:
    view = FixedView(node("a"), node("b"))
    walk = OwnerLookup(view, 10).walk(REF, "")
    assert walk.first() == ring_order(view)[0]
    assert walk.refused(refusals[0]) == ring_order(view)[1]
    with pytest.raises(error):
        walk.refused(refusals[1])


def test_who_refused_for_load_of_late_is_known() -> None:
    view, clock = FixedView(node("a"), node("b")), FakeClock()
    lookup = OwnerLookup(view, 10, clock.now_s)
    walk = lookup.walk(REF, "")
    full = walk.first()
    walk.refused("overloaded")
    clock.advance(RECENT_S - 1)
    assert lookup.overloaded_s() == {full.node_id: RECENT_S - 1}
    clock.advance(1)
    assert lookup.overloaded_s() == {}
    lookup.overloaded(NodeId("that has left"))
    assert lookup.overloaded_s() == {}


def test_an_owner_that_has_let_go_of_the_session_leaves_it_to_those_who_led_there() -> None:
    view = FixedView(node("a"), node("b"), node("c"))
    first, second, owner = ring_order(view)
    walk = OwnerLookup(view, 10).walk(REF, "")
    assert walk.first() == first
    assert walk.redirected(owner) == owner
    assert [walk.refused("draining"), walk.refused("draining")] == [first, second]
    with pytest.raises(SessionMoving):
        walk.refused("draining")


def test_a_redirect_to_a_node_that_drains_means_that_the_session_is_moving() -> None:
    view = FixedView(node("a"), node("b"))
    lookup = OwnerLookup(view, 10)
    lookup.learn(REF, ring_order(view)[1])
    walk = lookup.walk(REF, "")
    owner, other = walk.first(), ring_order(view)[0]
    assert walk.refused("draining") == other
    with pytest.raises(SessionMoving):
        walk.redirected(owner)


def test_only_nodes_that_host_the_agent_are_candidates() -> None:
    view = FixedView(node("a"), node("b", agents=("echo", "rare")), node("c"))
    walk = OwnerLookup(view, 10).walk(REF, "rare")
    assert walk.first() == target("b")
    with pytest.raises(NodeUnreachable):
        walk.unreachable(target("b"))


def test_an_agent_that_nobody_hosts_is_not_found_and_an_empty_ring_says_so() -> None:
    with pytest.raises(AgentNotFound) as caught:
        OwnerLookup(FixedView(node("a")), 10).walk(REF, "nobodys").first()
    assert caught.value.agent == "nobodys"
    for view in (FixedView(), FixedView(node("a", active=False))):
        with pytest.raises(NoNodes):
            OwnerLookup(view, 10).walk(REF, "echo").first()


def test_an_agent_is_found_as_soon_as_a_node_hosts_it_and_no_longer() -> None:
    view = FixedView(node("a"))
    lookup = OwnerLookup(view, 10)
    for agents in (("echo",), ("echo", "late"), ("echo",)):
        view.set(node("a", agents=agents))
        for _ in range(2):
            if "late" in agents:
                assert lookup.walk(REF, "late").first() == target("a")
            else:
                with pytest.raises(AgentNotFound):
                    lookup.walk(REF, "late").first()


def test_a_learnt_owner_that_is_slow_is_not_asked_twice() -> None:
    view = FixedView(node("a"), node("b"))
    lookup = OwnerLookup(view, 10)
    first, second = ring_order(view)
    lookup.learn(REF, second)
    walk = lookup.walk(REF, "")
    assert [walk.first(), walk.skip_slow(), walk.skip_slow()] == [second, first, None]


def test_a_learnt_owner_that_has_left_is_forgotten() -> None:
    view = FixedView(node("a"), node("b"))
    lookup = OwnerLookup(view, 10)
    other = ring_order(view)[1]
    lookup.learn(REF, other)
    assert lookup.walk(REF, "").first() == other
    view.set(*(each for each in view.ring.nodes if each.node_id != other.node_id))
    assert lookup.walk(REF, "").first() != other


def test_a_learnt_owner_that_drains_is_still_asked() -> None:
    view = FixedView(node("a"), node("b"))
    lookup = OwnerLookup(view, 10)
    lookup.learn(REF, target("b"))
    view.set(node("a"), node("b", active=False))
    assert lookup.walk(REF, "").first() == target("b")


def test_the_memory_of_owners_is_bounded_and_keeps_the_latest() -> None:
    view = FixedView(node("a"), node("b"))
    lookup = OwnerLookup(view, 2)
    refs = [parse_session("", f"s{i}") for i in range(3)]
    others = [Target(list(view.ring.candidates(ref.ring_key))[1].node_id, "") for ref in refs]
    others = [target(other.node_id) for other in others]
    for ref, other in zip(refs, others, strict=True):
        lookup.learn(ref, other)
    assert [lookup.walk(ref, "").first() == other for ref, other in zip(refs, others, strict=True)] == [
        False,
        True,
        True,
    ]


def test_before_the_first_snapshot_nothing_is_routed() -> None:
    lookup = OwnerLookup(EmptyView(), 10)
    with pytest.raises(CoordinatorUnavailable):
        lookup.walk(REF, "")
    with pytest.raises(CoordinatorUnavailable):
        lookup.any_node()


def test_a_call_that_belongs_to_no_session_goes_to_any_node_and_past_those_that_cannot_answer() -> None:
    lookup = OwnerLookup(FixedView(node("a"), node("b"), node("c"), node("left", active=False)), 10)
    firsts = [lookup.any_node().first().node_id for _ in range(6)]
    assert sorted(firsts) == ["a", "a", "b", "b", "c", "c"]
    walk = lookup.any_node()
    asked = [first := walk.first(), walk.unreachable(first), walk.refused("draining")]
    assert sorted(each.node_id for each in asked) == ["a", "b", "c"]
    with pytest.raises(NodeUnreachable):
        walk.unreachable(asked[-1])
    walk = lookup.any_node()
    walk.redirected(walk.first())
    walk.refused("draining")
    with pytest.raises(NodeDraining):
        walk.refused("draining")


def test_where_there_is_no_node_no_call_is_answered() -> None:
    with pytest.raises(NoNodes):
        OwnerLookup(FixedView(), 10).any_node().first()


def test_a_new_session_is_made_only_where_the_labels_fit_but_a_known_owner_is_asked_whatever_its_labels() -> None:
    eu, us = (replace(node(zone), labels=MappingProxyType({"zone": zone, "gpu": "yes"})) for zone in ("eu", "us"))
    lookup = OwnerLookup(FixedView(eu, us, node("bare")), 10)
    for zone in ("eu", "us"):
        walk = lookup.walk(REF, "echo", (("gpu", "yes"), ("zone", zone)))
        assert walk.first().node_id == zone
        with pytest.raises(NodeUnreachable):
            walk.unreachable(Target(eu.node_id, eu.address))
    with pytest.raises(NoNodes):
        lookup.walk(REF, "echo", (("zone", "mars"),)).first()
    lookup.learn(REF, Target(us.node_id, us.address))
    assert lookup.walk(REF, "echo", (("zone", "eu"),)).first().node_id == "us"
