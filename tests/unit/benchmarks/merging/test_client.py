"""The client of the bench of merging: an event log that is not whole gives no numbers."""

from array import array
from collections.abc import Callable

import pytest

from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event, RunTurnResponse
from benchmarks.merging.client import Counts, Reading
from benchmarks.merging.errors import BenchError
from benchmarks.merging.loads import Order

WHOLE = b"token0 token1 token2 "
MS = 1_000_000


def order(rate: float | None = None) -> Order:
    return Order("", 0, "r", sessions=1, rate=rate, tokens=3, warm_s=0, seconds=0)


def words(first_seq: int, seq: int, offset: int, text: str) -> Event:
    return Event(first_seq=first_seq, seq=seq, text_delta=session_pb2.TextDelta(offset=offset, text=text))


def turn_events() -> list[Event]:
    return [
        Event(seq=1, turn_accepted=session_pb2.TurnAccepted()),
        Event(seq=2, turn_started=session_pb2.TurnStarted()),
        words(3, 4, 0, "token0 token1 "),
        words(5, 5, 14, "token2 "),
        Event(seq=6, turn_completed=session_pb2.TurnCompleted()),
    ]


def read(events: list[Event], counts: Counts, rate: float | None = None) -> None:
    reading = Reading(order(rate), counts)
    for event in events:
        reading.take(RunTurnResponse(events=[event]))
    reading.end(WHOLE)


def test_a_whole_story_is_counted_by_its_numbers() -> None:
    counts = Counts()
    read(turn_events(), counts)
    assert (counts.events, counts.responses, counts.turns) == (6, 5, 1)


def test_every_token_is_late_by_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.merging.client.time.time_ns", lambda: 1_500 * MS)
    events = turn_events()
    events[1].time.FromMilliseconds(1_000)
    counts = Counts()
    counts.late_ns = array("q")
    read(events, counts, rate=10)
    assert list(counts.late_ns) == [500 * MS, 400 * MS, 300 * MS]


@pytest.mark.parametrize(
    ("spoil", "received"),
    [
        (lambda events: events.pop(1), "number 3 came after 1"),
        (lambda events: events.insert(3, events[2]), "number 3 came after 4"),
        (lambda events: events.pop(), "a turn did not complete"),
        (lambda events: setattr(events[3].text_delta, "offset", 15), "words for byte 15 came after 14 bytes"),
        (
            lambda events: setattr(events[3].text_delta, "text", "token3 "),
            "a text is not what it should be: 21 bytes, not 21",
        ),
        (lambda events: events[3].gap.SetInParent(), "a turn was told gap"),
    ],
)
def test_a_story_that_is_not_whole_is_refused(spoil: Callable[[list[Event]], object], received: str) -> None:
    events = turn_events()
    spoil(events)
    with pytest.raises(BenchError, match=received):
        read(events, Counts())
