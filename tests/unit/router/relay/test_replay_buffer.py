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
    replay = ReplayBuffer(budget, Holder())
    added: list[bytes] = []
    acked = 0
    for step, number in steps:
        if step == "add":
            added.append(len(added).to_bytes(4, "big") + bytes(number))
            replay.add(added[-1])
        else:
            replay.drop(number)
            acked = max(acked, min(number, len(added)))
        assert replay.messages == added[acked:]
        assert replay.bytes == sum(map(len, replay.messages))
        assert replay.acked == acked
        assert budget.used_bytes == (replay.bytes if replay.bytes >= 4 << 10 else 0)
        assert len(budget) == (budget.used_bytes > 0)
    replay.end()
    assert (replay.messages, replay.bytes, replay.is_recording, budget.used_bytes, len(budget)) == ([], 0, False, 0, 0)


def test_less_than_4_kib_is_not_counted() -> None:
    budget = Budget(1 << 30)
    replay = ReplayBuffer(budget, Holder())
    replay.add(bytes(4095))
    assert budget.used_bytes == 0
    replay.add(b"1")
    assert budget.used_bytes == 4096


def test_over_the_budget_the_holder_is_told() -> None:
    holder = Holder()
    replay = ReplayBuffer(Budget(5_000), holder)
    replay.add(bytes(5_000))
    assert holder.shed_count == 0
    replay.add(b"1")
    assert holder.shed_count == 1


def test_the_holder_is_let_go_at_the_end() -> None:
    holder = Holder()
    replay = ReplayBuffer(Budget(5_000), holder)
    reference = weakref.ref(holder)
    replay.end()
    del holder
    assert reference() is None
    replay.shed()


@pytest.mark.parametrize("early", [False, True])
def test_a_request_is_kept_to_the_end_whatever_is_acknowledged(early: bool) -> None:
    budget = Budget(1 << 30)
    replay = ReplayBuffer(budget, Holder())
    request = bytes(5_000)
    if early:
        replay.keep_request()
    replay.add(request)
    if not early:
        replay.keep_request()
    replay.drop(1)
    replay.drop(1)
    assert (replay.messages_to_send(), replay.messages, replay.bytes, budget.used_bytes) == (
        [request],
        [],
        5_000,
        5_000,
    )
    replay.end()
    assert (replay.messages_to_send(), replay.bytes, budget.used_bytes, len(budget)) == ([], 0, 0, 0)


def test_what_was_acknowledged_is_replaced_by_an_empty_message_that_does_not_count() -> None:
    replay = ReplayBuffer(Budget(1 << 30), Holder())
    for message in (b"open", b"turn", b"cancel"):
        replay.add(message)
    assert replay.messages_to_send() == [b"open", b"turn", b"cancel"]
    replay.drop(2)
    assert replay.messages_to_send() == [bytes(5), b"cancel"]
    replay.node_lost()
    replay.add(b"later")
    assert (replay.acked, replay.sent_to_lost_node) == (2, 3)
