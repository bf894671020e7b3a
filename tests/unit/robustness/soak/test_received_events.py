"""What the soak's clients and judge find wrong, and what they do not."""

import pytest

from agentring.v1 import session_pb2
from robustness.soak import judge
from robustness.soak.client import ClientRecord, Script
from robustness.soak.received_events import ReceivedEvents, words_of

TOKENS = 3
Event = session_pb2.Event


def words(seq: int, offset: int, text: str, first_seq: int = 0) -> Event:
    delta = session_pb2.TextDelta(offset=offset, text=text)
    return Event(seq=seq, first_seq=first_seq, turn_id="turn-0", text_delta=delta)


def completed(seq: int, turn_id: str = "turn-0") -> Event:
    return Event(seq=seq, turn_id=turn_id, turn_completed=session_pb2.TurnCompleted(text_bytes=21))


def restarted(seq: int, first_seq: int) -> Event:
    return Event(seq=seq, first_seq=first_seq, turn_id="turn-0", attempt_restarted=session_pb2.AttemptRestarted())


def received(*events: Event) -> ReceivedEvents:
    checked = ReceivedEvents(words_of(TOKENS))
    for event in events:
        checked.take(event)
    return checked


def test_a_whole_story_has_no_fault_also_where_the_turn_was_run_again_by_an_owner_that_reaches_back() -> None:
    events = received(
        words(1, 0, "token0 "),
        words(2, 7, "token1 "),
        restarted(100, 1),
        words(102, 0, "token0 token1 ", 101),
        words(103, 14, "token2 "),
        completed(104),
    )
    assert events.faults == []
    assert events.restarts == 1
    assert events.completed == ["turn-0"]


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([words(1, 0, "token0 "), words(3, 7, "token1 ")], "seq 3..3 follows 1"),
        ([words(1, 0, "token0 "), words(1, 0, "")], "seq 1..1 follows 1"),
        ([words(1, 0, "token0 "), words(2, 6, "token1 ")], "words at 6 follow 7 others"),
        ([words(1, 0, "token0 "), completed(2)], "7 of 21 characters came"),
        ([words(1, 0, words_of(TOKENS)), completed(2), completed(3)], "completed twice"),
        ([Event(seq=1, gap=session_pb2.Gap())], "ended as gap"),
        ([Event(seq=1, turn_failed=session_pb2.TurnFailed())], "ended as turn_failed"),
    ],
)
def test_what_is_missing_or_comes_twice_is_a_fault(events: list[Event], fault: str) -> None:
    assert any(fault in each for each in received(*events).faults)


def test_a_turn_that_was_not_completed_or_not_stored_is_lost_and_one_with_two_commits_ran_twice() -> None:
    script = Script(turns=2, tokens=TOKENS, rate=1, pause_s=0)
    whole = ClientRecord("whole", ReceivedEvents("", completed=["turn-0", "turn-1"]))
    half = ClientRecord("half", ReceivedEvents("", completed=["turn-0"]))
    assert judge.lost(script, [whole], {"whole": 2}) == []
    assert len(judge.lost(script, [whole, half], {"whole": 1, "half": 2})) == 2
    commits = [
        {"session": "s", "turn": "turn-0"},
        {"session": "s", "turn": "turn-1"},
        {"session": "s", "turn": "turn-0"},
    ]
    assert judge.twice(commits) == ["s: turn-0 was committed 2 times"]
    assert judge.twice(commits[:2]) == []
