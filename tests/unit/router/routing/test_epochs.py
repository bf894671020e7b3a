"""Epochs only grow, as a router sees them."""

from agentring.ids import parse_session, parse_task
from router.routing.epochs import Epochs

S, T, U = parse_session("", "s"), parse_task("", "s"), parse_session("", "u")


def test_a_lower_epoch_than_seen_before_is_refused() -> None:
    epochs = Epochs(10)
    assert [epochs.admits(S, epoch) for epoch in (5, 5, 7, 6, 7, 5, 8)] == [True, True, True, False, True, False, True]


def test_each_session_and_task_has_its_own() -> None:
    epochs = Epochs(10)
    assert epochs.admits(S, 9)
    assert epochs.admits(T, 1)
    assert epochs.admits(U, 1)


def test_the_least_lately_used_are_forgotten() -> None:
    epochs = Epochs(2)
    for ref, epoch in ((S, 9), (U, 9), (S, 9), (T, 9)):
        epochs.admits(ref, epoch)
    assert len(epochs) == 2
    assert epochs.admits(U, 1)
    assert not epochs.admits(T, 1)
