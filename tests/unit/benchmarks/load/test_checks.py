"""Every check can fail, and does not where it must not."""

import pytest

from agentring.v1.session_pb2 import AttemptRestarted, Event, Gap, Opened, TextDelta, TurnAccepted, TurnCompleted
from benchmarks.load.checks import Coverage, Fault, Owner
from benchmarks.load.turn import TurnReading


def event(seq: int, first_seq: int | None = None) -> Event:
    return Event(seq=seq, first_seq=first_seq)


def faults_of(*events: Event) -> list[Fault | None]:
    coverage = Coverage()
    return [coverage.take(each) for each in events]


def test_coverage_without_a_gap() -> None:
    opened = Event(opened=Opened(head_seq=4))
    assert faults_of(opened, event(5), event(9, first_seq=6), Event(), event(10)) == [None] * 5


@pytest.mark.parametrize("behind", [event(7), event(8, first_seq=7)])
def test_a_gap_is_found_once(behind: Event) -> None:
    assert faults_of(event(5), behind, event(behind.seq + 1)) == [None, Fault.SEQ_GAP, None]


def test_a_gap_behind_opened_is_found() -> None:
    assert faults_of(Event(opened=Opened(head_seq=4)), event(6)) == [None, Fault.SEQ_GAP]


def test_what_covers_nothing_new_is_found() -> None:
    assert faults_of(event(5), event(6), event(5), event(7)) == [None, None, Fault.SEQ_REPEATED, None]


def test_a_merged_event_may_begin_with_what_is_known() -> None:
    assert faults_of(event(5), event(6), event(8, first_seq=5), event(9)) == [None] * 4


def test_one_move_counts_once() -> None:
    owner = Owner(may_move=False)
    assert owner.observe("n1", 7) is None
    assert owner.observe(epoch=7) is None
    assert owner.observe(epoch=9) is Fault.SESSION_MOVED
    assert owner.observe("n2", 9) is None
    assert (owner.moves, owner.first_node) == (1, "n1")


@pytest.mark.parametrize(("node", "epoch"), [("n2", 0), ("n2", 7), ("n1", 8), ("", 8)])
def test_another_node_or_epoch_is_a_move(node: str, epoch: int) -> None:
    owner = Owner(may_move=False)
    owner.observe("n1", 7)
    assert owner.observe(node, epoch) is Fault.SESSION_MOVED


def test_an_allowed_move_is_counted_and_no_fault() -> None:
    owner = Owner(may_move=True)
    owner.observe("n1", 7)
    assert owner.observe("n2", 8) is None
    assert owner.moves == 1
    assert owner.observe("n1", 7) is Fault.EPOCH_WENT_BACK


def read(*events: Event, tokens: int | None = None) -> set[str]:
    """The reasons for which the turn `t` is not as it should be."""
    reading = TurnReading("t", 0.0, tokens)
    for each in events:
        each.turn_id = each.turn_id or "t"
        reading.take(each, 1.0)
    assert reading.ended
    return {problem.reason for problem in reading.outcome(2.0).problems}


def delta(offset: int, text: str) -> Event:
    return Event(text_delta=TextDelta(offset=offset, text=text))


def completed(text_bytes: int, tokens: int | None = None) -> Event:
    event = Event(turn_completed=TurnCompleted(text_bytes=text_bytes))
    if tokens is not None:
        event.turn_completed.result["tokens"] = tokens
    return event


def test_offsets_are_bytes() -> None:
    assert read(delta(0, "wörd "), delta(6, "two "), completed(10)) == set()


def test_a_gap_in_the_text_is_found() -> None:
    assert read(delta(0, "one "), delta(5, "two "), completed(9)) == {"TEXT_GAP", "TEXT_BYTES_WRONG"}


def test_repeated_text_is_found() -> None:
    assert read(delta(0, "one "), delta(0, "one "), completed(4)) == {"TEXT_REPEATED"}


def test_a_merged_delta_may_begin_with_what_is_known() -> None:
    assert read(delta(0, "one "), delta(0, "one two "), completed(8)) == set()


def test_a_repeated_beginning_in_other_words_is_found() -> None:
    assert read(delta(0, "one "), delta(0, "uno two "), completed(8)) == {"TEXT_DIFFERS"}


def test_text_that_is_missing_at_the_end_is_found() -> None:
    assert read(delta(0, "one "), completed(8)) == {"TEXT_BYTES_WRONG"}


def test_a_restarted_attempt_begins_anew() -> None:
    restarted = Event(attempt_restarted=AttemptRestarted(reason="NODE_LOST"))
    assert read(delta(0, "one "), restarted, delta(0, "uno "), delta(4, "due "), completed(8)) == set()


@pytest.mark.parametrize(("received", "words"), [(2, "a b "), (3, "a b "), (2, "a b c "), (None, "a b c ")])
def test_a_wrong_number_of_tokens_is_found(received: int | None, words: str) -> None:
    assert read(delta(0, words), completed(len(words), tokens=received), tokens=3) == {"TOKENS_WRONG"}


def test_events_lost_in_a_turn_are_found() -> None:
    accepted = Event(turn_accepted=TurnAccepted())
    assert read(accepted, Event(gap=Gap()), completed(0)) == {"EVENTS_LOST"}
    assert read(Event(gap=Gap()), accepted, completed(0)) == {"EVENTS_LOST"}


def test_events_lost_between_turns_are_none_of_the_turn() -> None:
    assert read(Event(gap=Gap(), turn_id="another"), Event(turn_accepted=TurnAccepted()), completed(0)) == set()


def test_another_turn_is_not_mixed_in() -> None:
    other = Event(turn_id="another", turn_completed=TurnCompleted(text_bytes=99))
    assert read(other, delta(0, "one "), completed(4)) == set()
