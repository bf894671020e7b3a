"""The checker's rule about what runs say, red and green, on histories made by hand."""

import pytest

from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Call, Evidence
from robustness.chaos.validate.said import Kind, Said
from robustness.chaos.validate.said_rules import digest

S = "session/default/s"


def words(seq: int, offset: int, text: str) -> Said:
    return Said(Kind.WORDS, seq, offset, text)


def emitted(seq: int, number: int) -> Said:
    return Said(Kind.EMITTED, seq, number)


def restarted(seq: int, valid_seq: int = 0, valid_bytes: int = 0) -> Said:
    return Said(Kind.RESTARTED, seq, valid_bytes, valid_seq=valid_seq)


FIRST = [words(2, 0, "é"), emitted(3, 0), words(4, 2, "cut")]
KEPT = [*FIRST, restarted(9, 3, 2), words(10, 2, "b"), emitted(11, 1)]
ANEW = [*FIRST, restarted(9), words(10, 0, "é"), emitted(11, 0), words(12, 2, "b"), emitted(13, 1)]


def call(said: list[Said], *, keeps: bool = True, ok: bool = True) -> Call:
    end = digest("éb".encode()) if ok else ""
    return Call("c", S, "t", "r1", 0, ok=ok, keeps_valid=keeps, said=said, words=end, emitted=2)


def broken(*calls: Call, durable: bool = True) -> list[str]:
    return [each.what for each in check(Evidence([], list(calls), durable=durable)) if each.rule == "S4"]


def test_clients_of_both_kinds_have_what_the_run_said() -> None:
    assert broken(call(KEPT), call(ANEW, keeps=False), call(FIRST, ok=False), call(KEPT)) == []


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ([*KEPT[:4], *ANEW[4:]], "t, c: words 10 begin at 0, those before end at 2"),
        ([*KEPT[:4], emitted(10, 0), *KEPT[4:]], "t, c: event 10 is number 0, after 1"),
        ([*FIRST, restarted(9, 3, 3), *KEPT[4:]], "t, c: 3 bytes are valid up to 3, where there were 2"),
        (KEPT[:-1], "t, c: it has 1 events, the run has emitted 2"),
        ([*KEPT[:4], words(10, 2, "x"), emitted(11, 1)], "t, c: it has 3 bytes of words that are not those of the run"),
        ([*KEPT[:3], words(4, 5, ""), *KEPT[3:]], "t, c: words 4 after 4"),
        ([], "t, c: it has 0 bytes of words that are not those of the run"),
    ],
)  # fmt: skip
def test_one_that_has_something_else_is_found(said: list[Said], fault: str) -> None:
    assert fault in broken(call(said))


def test_one_that_does_not_keep_what_is_valid_is_told_nothing_of_it() -> None:
    assert broken(call(KEPT, keeps=False)) == ["t, c: it does not keep what is valid, and was told that some is"]


def test_a_later_stream_has_what_is_valid_under_the_same_number() -> None:
    moved = [words(3, 0, "é"), emitted(5, 0), restarted(9, 5, 2), *KEPT[4:]]
    fault = "t: clients have something else up to 3, though it was said to be valid"
    assert fault in broken(call(KEPT), call(moved))
    assert broken(call(KEPT), call(moved[:1], ok=False)) == [fault]
    assert broken(call(KEPT), call(KEPT[:1], ok=False)) == []


def test_what_is_kept_no_more_and_a_volatile_store_are_not_judged() -> None:
    assert broken(call([Said(Kind.GAP, 4), *KEPT[4:]])) == []
    assert broken(call([]), durable=False) == []


def test_of_a_task_that_had_ended_the_end_alone_is_told() -> None:
    late = call([])
    late.replayed = True
    assert broken(late) == []
