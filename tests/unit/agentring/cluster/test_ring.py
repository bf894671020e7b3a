"""What routers and nodes may take for granted about the ring."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.cluster.ring import POINTS_PER_WEIGHT, Ring
from agentring.cluster.snapshot import Node
from agentring.ids import NodeId
from harness.memberships import node, snapshot

KEYS = [f"session/default/s{i}" for i in range(20_000)]
TEN = [node(f"n{i}") for i in range(10)]

node_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=12)
nodes = st.lists(
    st.builds(node, node_names, weight=st.integers(1, 4), active=st.booleans()),
    max_size=6,
    unique_by=lambda each: each.node_id,
)
keys = st.text(max_size=40)


def ring(*members: Node) -> Ring:
    return Ring(snapshot(*members))


def owner(of: Ring, key: str) -> str:
    return next(of.candidates(key)).node_id


def owners(of: Ring) -> dict[str, str]:
    return {key: owner(of, key) for key in KEYS}


def names(candidates: list[Node]) -> list[str]:
    return [each.node_id for each in candidates]


def test_ten_nodes_have_nearly_the_same_share() -> None:
    shares = ring(*TEN).shares()
    assert len(shares) == 10
    assert max(shares.values()) / (sum(shares.values()) / 10) <= 1.25


def test_ten_nodes_are_given_nearly_the_same_number_of_keys() -> None:
    counts = Counter(owners(ring(*TEN)).values())
    assert len(counts) == 10
    assert max(counts.values()) / (len(KEYS) / 10) <= 1.25


def test_shares_are_the_parts_of_the_keys_that_fall_to_each() -> None:
    of = ring(*TEN)
    counts = Counter(owners(of).values())
    for name, share in of.shares().items():
        assert counts[name] / len(KEYS) == pytest.approx(share, abs=0.01)


def test_a_newcomer_takes_its_share_and_nothing_else_moves() -> None:
    before, after = owners(ring(*TEN[:9])), owners(ring(*TEN))
    moved = {key for key in KEYS if before[key] != after[key]}
    assert {after[key] for key in moved} == {"n9"}
    assert 0.8 / 10 < len(moved) / len(KEYS) < 1.25 / 10


def test_a_leavers_keys_move_and_no_others() -> None:
    before, after = owners(ring(*TEN)), owners(ring(*TEN[1:]))
    assert {key for key in KEYS if before[key] != after[key]} == {key for key in KEYS if before[key] == "n0"}


def test_a_leavers_keys_go_to_their_second_candidate() -> None:
    full = ring(*TEN)
    without = ring(*TEN[1:])
    for key in KEYS[:2_000]:
        first, second = names(list(islice(full.candidates(key), 2)))
        assert owner(without, key) == (second if first == "n0" else first)


def test_a_leavers_keys_are_shared_out_among_all_who_stay() -> None:
    before, after = owners(ring(*TEN)), owners(ring(*TEN[1:]))
    counts = Counter(after[key] for key in KEYS if before[key] == "n0")
    assert len(counts) == 9
    assert max(counts.values()) / counts.total() < 0.3


def test_three_times_the_weight_is_three_times_the_share() -> None:
    of = ring(node("heavy", weight=3), *(node(f"n{i}") for i in range(7)))
    assert of.shares()[NodeId("heavy")] == pytest.approx(0.3, rel=0.2)
    assert of.points(NodeId("heavy")) == 3 * POINTS_PER_WEIGHT
    assert of.points(NodeId("n0")) == POINTS_PER_WEIGHT


def test_a_nodes_greater_weight_draws_keys_to_it_alone() -> None:
    before = owners(ring(*TEN))
    after = owners(ring(node("n0", weight=2), *TEN[1:]))
    assert {after[key] for key in KEYS if before[key] != after[key]} == {"n0"}


def test_a_draining_node_is_not_on_it() -> None:
    draining = ring(node("n0", active=False), *TEN[1:])
    without = ring(*TEN[1:])
    assert len(draining) == 9
    assert names(list(draining.nodes)) == names(list(without.nodes))
    assert draining.checksum == without.checksum
    assert "n0" not in names(list(draining.candidates("k")))
    assert owners(draining) == owners(without)


def test_an_empty_ring_has_no_candidates() -> None:
    for empty in (ring(), ring(node("n0", active=False))):
        assert len(empty) == 0
        assert list(empty.candidates("k")) == []
        assert empty.shares() == {}
        assert empty.nodes == ()


def test_a_lone_node_has_everything() -> None:
    of = ring(node("n0"))
    assert of.shares() == {"n0": 1.0}
    assert set(owners(of).values()) == {"n0"}
    assert names(list(of.candidates("k"))) == ["n0"]


def test_it_bears_the_snapshots_revision() -> None:
    assert Ring(snapshot(*TEN, revision=42)).revision == 42


def test_candidates_are_the_nodes_themselves() -> None:
    assert next(ring(TEN[3]).candidates("k")) is TEN[3]


def test_it_does_not_change_with_time() -> None:
    """Two processes of different versions must agree, so what is proposed for a key is part of the protocol."""
    of = ring(*TEN)
    assert of.position("session/default/s0") == 10887354224679271098
    assert [owner(of, key) for key in KEYS[:8]] == ["n7", "n0", "n1", "n7", "n3", "n8", "n4", "n7"]


@pytest.mark.parametrize(
    "other",
    [
        [*TEN[:9]],
        [*TEN[:9], node("other")],
        [*TEN[:9], node("n9", weight=2)],
        [*TEN[:9], node("n9", agents=("echo", "assistant"))],
        [*TEN[:9], node("n9", agents=())],
        [*TEN[:9], node("n9", active=False)],
        [],
    ],
)
def test_rings_that_propose_otherwise_have_other_checksums(other: list[Node]) -> None:
    assert ring(*other).checksum != ring(*TEN).checksum


def test_checksums_do_not_run_names_into_each_other() -> None:
    assert ring(node("n", agents=("a,b",))).checksum != ring(node("n", agents=("a", "b"))).checksum
    assert ring(node("n", agents=("a", "b"))).checksum == ring(node("n", agents=("b", "a"))).checksum


@given(nodes, keys)
def test_candidates_are_each_active_node_once(members: list[Node], key: str) -> None:
    found = names(list(ring(*members).candidates(key)))
    assert len(found) == len(set(found))
    assert set(found) == {each.node_id for each in members if each.active}


@given(st.permutations(TEN[:6]), keys)
def test_the_order_of_joining_does_not_matter(members: list[Node], key: str) -> None:
    one, other = ring(*members), ring(*TEN[:6])
    assert names(list(one.candidates(key))) == names(list(other.candidates(key)))
    assert one.checksum == other.checksum
    assert one.shares() == other.shares()


@given(nodes, keys)
def test_taking_any_node_away_only_takes_it_out_of_the_order(members: list[Node], key: str) -> None:
    full = names(list(ring(*members).candidates(key)))
    for gone in members:
        without = ring(*(each for each in members if each is not gone))
        assert names(list(without.candidates(key))) == [name for name in full if name != gone.node_id]


@given(nodes)
def test_shares_are_a_whole(members: list[Node]) -> None:
    of = ring(*members)
    shares = of.shares()
    assert set(shares) == {each.node_id for each in members if each.active}
    assert sum(shares.values()) == pytest.approx(1.0 if shares else 0.0)
    assert all(share > 0 for share in shares.values())


@given(st.lists(node_names, min_size=1, max_size=5, unique=True), keys)
def test_a_place_on_the_ring_is_one_of_its_64_bits(members: list[str], key: str) -> None:
    assert 0 <= ring(*map(node, members)).position(key) < 2**64
