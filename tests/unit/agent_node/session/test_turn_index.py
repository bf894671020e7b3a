"""Turns in memory: open ones all, ended ones within a bound, and the ends that streams wait for."""

from dataclasses import replace

from agent_node.session.turn_index import TurnIndex
from agent_node.store import StoredTurn
from harness.stored_turns import accepted, cancelled

ROOM = 4_000


def ended(number: int, outcome_bytes: int = 100) -> StoredTurn:
    return replace(cancelled(accepted(number)), outcome=b"x" * outcome_bytes)


def test_turns_that_have_not_ended_are_all_known_in_order() -> None:
    turns = TurnIndex([accepted(number) for number in range(100)], max_bytes=1)
    turns.put(replace(accepted(0), attempt=2))
    assert [turn.number for turn in turns.open] == list(range(100))
    assert turns.open[0].attempt == 2


def test_of_those_that_have_ended_the_latest_are_known_within_the_bound() -> None:
    turns = TurnIndex([accepted(0)], max_bytes=ROOM)
    for number in range(1, 101):
        turns.put(accepted(number))
        turns.put(ended(number))
    known = turns.ended_after(0)
    assert 1 < len(known) < 10
    assert [turn.number for turn in known] == list(range(101 - len(known), 101))
    assert turns.get("t1") is None
    assert {turn.input for turn in known} == {b""}
    turns.put(ended(101, ROOM))
    assert [turn.number for turn in turns.ended_after(0)] == [101]
    turns.put(ended(102))
    assert [turn.number for turn in turns.ended_after(0)] == [102]
    assert [turn.number for turn in turns.open] == [0]


def test_a_turn_that_is_put_right_takes_no_more_memory() -> None:
    turns = TurnIndex([], max_bytes=ROOM)
    turns.put(ended(1))
    for end_seq in range(100):
        turns.put(replace(ended(2), end_seq=end_seq))
    assert [(turn.number, turn.end_seq) for turn in turns.ended_after(0)] == [(1, 15), (2, 99)]
    assert turns.ended_after(15) == [turns.get("t2")]


def test_a_followed_turns_end_is_known_once_it_comes_and_nothing_is_kept_of_that() -> None:
    turns = TurnIndex([accepted(1)], max_bytes=1)
    followed = [turns.follow(accepted(1)), turns.follow(accepted(1))]
    assert [end.seq for end in followed] == [None, None]
    turns.put(ended(1))
    turns.put(ended(2))
    assert turns.get("t1") is None
    assert [end.seq for end in followed] == [15, 15]
    assert turns.follow(ended(1)).seq == 15
    assert turns.follow(accepted(2)).seq == 25
    assert turns._ends == {}
