"""What a client passes on of what it receives: nothing twice, nothing void."""

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentring.client.events import AttemptRestarted, Event, Gap, TextDelta, TurnCompleted, UnknownEvent
from agentring.client.progress import Progress
from agentring.v1 import session_pb2
from harness.breaking import merged, turn_events


def take(progress: Progress, received: list[session_pb2.Event]) -> list[Event]:
    return [event for raw in received for event in progress.take(raw)]


def text_of(events: list[Event]) -> str:
    """The words after the last restart."""
    text = ""
    for event in events:
        if isinstance(event, AttemptRestarted):
            text = ""
        elif isinstance(event, TextDelta):
            text += event.text
    return text


def restarted(seq: int, first_seq: int, *, epoch: int = 9, attempt: int = 2) -> session_pb2.Event:
    return session_pb2.Event(
        seq=seq,
        first_seq=first_seq,
        epoch=epoch,
        turn_id="t",
        attempt=attempt,
        attempt_restarted=session_pb2.AttemptRestarted(reason="NODE_DRAINED"),
    )


@given(
    pieces=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=10),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    seed=st.integers(0, 99),
)
def test_the_same_story_again_and_again_is_passed_on_once(pieces: list[str], cuts: list[int], seed: int) -> None:
    chance = random.Random(seed)
    progress = Progress()
    passed: list[Event] = []
    for cut in [*cuts, None]:
        passed += take(progress, list(merged(turn_events("t", pieces), chance))[:cut])
    assert text_of(passed) == "".join(pieces)
    assert all(second.first_seq == first.seq + 1 for first, second in pairwise(passed))
    assert isinstance(passed[-1], TurnCompleted)


@given(cut=st.integers(0, 6), begins=st.integers(0, 6))
def test_words_of_an_attempt_that_was_cut_off_are_void(cut: int, begins: int) -> None:
    before, after = turn_events("t", ["one ", "two ", "three"]), turn_events("t", ["zwei ", "drei"], epoch=9, attempt=2)
    head_seq = 1_000
    for event in after:
        event.seq += head_seq
    received = [*before[:cut], restarted(head_seq, 2), *after[1:]]
    passed = take(progress := Progress(), before[:begins]) + take(progress, received)
    if max(cut, begins) < len(before):  # else the turn had ended
        assert text_of(passed) == "zwei drei"
        assert [event.reason for event in passed if isinstance(event, AttemptRestarted)] == ["NODE_DRAINED"]


def test_another_attempt_that_nobody_announced_is_announced() -> None:
    progress = Progress()
    take(progress, turn_events("t", ["one ", "two"])[:3])
    passed = take(progress, turn_events("t", ["eins"], epoch=9, attempt=2, first_seq=50)[1:])
    assert isinstance(passed[0], AttemptRestarted)
    assert text_of(passed) == "eins"


def test_late_words_of_an_earlier_attempt_are_dropped() -> None:
    progress = Progress()
    take(progress, [restarted(40, 1), *turn_events("t", ["eins"], epoch=9, attempt=2, first_seq=41)[1:3]])
    assert take(progress, turn_events("t", ["late"], epoch=9, attempt=1, first_seq=60)[2:3]) == []


def test_a_run_that_a_later_owner_knows_nothing_of_begins_anew() -> None:
    for first_seq in (1, 500):  # in a session that is new too, and in one that others have spoken with
        progress = Progress()
        passed = take(progress, turn_events("t", ["one ", "two ", "three"], first_seq=90)[:4])
        passed += take(progress, turn_events("t", ["uno ", "dos"], epoch=9, first_seq=first_seq))
        assert text_of(passed) == "uno dos"
        assert isinstance(passed[-1], TurnCompleted)
        assert sum(isinstance(event, AttemptRestarted) for event in passed) == 1


def test_a_turn_that_waited_for_a_later_owner_is_not_restarted() -> None:
    progress = Progress()
    passed = take(progress, turn_events("t", [])[:1])
    passed += take(progress, turn_events("t", ["one"], epoch=9, first_seq=70)[1:])
    assert not any(isinstance(event, AttemptRestarted) for event in passed)
    assert text_of(passed) == "one"


def test_what_is_lost_is_told() -> None:
    progress = Progress()
    received = turn_events("t", ["one ", "two"])
    lost = session_pb2.Event(seq=4, first_seq=1, epoch=9, gap=session_pb2.Gap())
    passed = take(progress, [received[0], lost, received[-1]])
    assert [type(event) for event in passed[1:]] == [Gap, TurnCompleted]
    assert take(progress, [lost]) == []


def test_what_stands_outside_of_the_numbers_is_not_passed_on() -> None:
    outside = [
        session_pb2.Event(heartbeat=session_pb2.Heartbeat()),
        session_pb2.Event(opened=session_pb2.Opened(head_seq=9)),
        session_pb2.Event(go_away=session_pb2.GoAway(reason="ROUTER_STOPPING")),
    ]
    progress = Progress(5)
    assert take(progress, outside) == []
    assert progress.seq == 5


def test_a_kind_of_event_from_the_future_is_passed_on() -> None:
    (event,) = take(Progress(), [session_pb2.Event(seq=3, epoch=7, turn_id="t", attempt=1)])
    assert type(event) is UnknownEvent
    assert event.seq == 3
