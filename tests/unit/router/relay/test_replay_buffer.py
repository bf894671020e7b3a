"""Kept messages: numbered, dropped when acknowledged, counted when they are many."""

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.http2.budget import Budget
from router.relay.replay_buffer import ReplayBuffer


class Holder:
    def __init__(self) -> None:
        self.shed_count = 0

    def shed(self) -> None:
        self.shed_count += 1


STEPS = st.lists(st.tuples(st.just("add"), st.integers(0, 6_000)) | st.tuples(st.just("drop"), st.integers(0, 30)))


@given(STEPS)
def test_what_is_kept_is_what_was_added_and_not_acknowledged(steps: list[tuple[str, int]]) -> None:
    budget = Budget(1 << 30)
    kept = ReplayBuffer(budget, Holder())
    added: list[bytes] = []
    acked = 0
    for step, number in steps:
        if step == "add":
            added.append(len(added).to_bytes(4, "big") + bytes(number))
            kept.add(added[-1])
        else:
            kept.drop(number)
            acked = max(acked, min(number, len(added)))
        assert kept.messages == added[acked:]
        assert kept.bytes == sum(map(len, kept.messages))
        assert kept.acked == acked
        assert budget.used_bytes == (kept.bytes if kept.bytes >= 4 << 10 else 0)
        assert len(budget) == (budget.used_bytes > 0)
    kept.end()
    assert (kept.messages, kept.bytes, kept.wanted, budget.used_bytes, len(budget)) == ([], 0, False, 0, 0)


def test_less_than_4_kib_is_not_counted() -> None:
    budget = Budget(1 << 30)
    kept = ReplayBuffer(budget, Holder())
    kept.add(bytes(4095))
    assert budget.used_bytes == 0
    kept.add(b"1")
    assert budget.used_bytes == 4096


def test_over_the_budget_the_holder_is_told() -> None:
    holder = Holder()
    kept = ReplayBuffer(Budget(5_000), holder)
    kept.add(bytes(5_000))
    assert holder.shed_count == 0
    kept.add(b"1")
    assert holder.shed_count == 1


def test_the_holder_is_let_go_at_the_end() -> None:
    holder = Holder()
    kept = ReplayBuffer(Budget(5_000), holder)
    gone = weakref.ref(holder)
    kept.end()
    del holder
    assert gone() is None
    kept.shed()


@pytest.mark.parametrize("early", [False, True])
def test_a_request_is_kept_to_the_end_whatever_is_acknowledged(early: bool) -> None:
    budget = Budget(1 << 30)
    kept = ReplayBuffer(budget, Holder())
    request = bytes(5_000)
    if early:
        kept.keep_request()
    kept.add(request)
    if not early:
        kept.keep_request()
    kept.drop(1)
    kept.drop(1)
    assert (kept.again(), kept.messages, kept.bytes, budget.used_bytes) == ([request], [], 5_000, 5_000)
    kept.end()
    assert (kept.again(), kept.bytes, budget.used_bytes, len(budget)) == ([], 0, 0, 0)


def test_what_was_acknowledged_is_replaced_by_an_empty_message_that_does_not_count() -> None:
    kept = ReplayBuffer(Budget(1 << 30), Holder())
    for message in (b"open", b"turn", b"cancel"):
        kept.add(message)
    assert kept.again() == [b"open", b"turn", b"cancel"]
    kept.drop(2)
    assert kept.again() == [bytes(5), b"cancel"]
    kept.node_lost()
    kept.add(b"later")
    assert (kept.acked, kept.handed) == (2, 3)
