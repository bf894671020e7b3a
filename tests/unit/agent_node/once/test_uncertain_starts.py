"""Starts whose write may have landed: remembered until the key is claimed again, and no more of them than fit."""

from agent_node.once.uncertain_starts import MOST, UncertainStarts
from agentring.ids import Epoch, parse_once

A, B = parse_once("", "a"), parse_once("", "b")


def test_they_are_taken_once_and_by_their_key_alone() -> None:
    starts = UncertainStarts()
    starts.add(A, frozenset({Epoch(1), Epoch(2)}))
    assert starts.take(B) == frozenset()
    assert starts.take(A) == {1, 2}
    assert starts.take(A) == frozenset()


def test_beyond_the_bound_the_oldest_is_forgotten() -> None:
    starts = UncertainStarts()
    for number in range(MOST + 1):
        starts.add(parse_once("", f"key-{number}"), frozenset({Epoch(number)}))
    assert starts.take(parse_once("", "key-0")) == frozenset()
    assert starts.take(parse_once("", "key-1")) == {1}
    assert starts.take(parse_once("", f"key-{MOST}")) == {MOST}
