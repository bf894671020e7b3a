"""A session's events become rows that are small or one large event, and lose nothing on the way."""

from agent_node.events.encoding import text_delta
from agent_node.events.log import EventLog
from agent_node.events.whole_log import all_events
from agent_node.run.event_rows import event_rows
from agent_node.store.readable import to_stored_events
from agentring.ids import Epoch


def a_log() -> EventLog:
    return EventLog(Epoch(7), 1 << 20)


def test_a_turn_is_one_row_and_its_text_keeps_the_length_of_each_piece() -> None:
    log = a_log()
    log.append_accepted("a", b"", b"")
    log.append_text("a", 1, 0, "one ", "x" * 200, "", "drei ü")
    (row,) = event_rows(log.entries(0), 1000)
    assert (row.first_seq, row.seq, row.begin_bytes, row.end_bytes) == (1, 5, 1000, 1000 + len(row.events))
    accepted, text = to_stored_events(row.events)
    assert (accepted.event.seq, list(accepted.piece_bytes)) == (1, [])
    assert (text.event.first_seq, text.event.seq, list(text.piece_bytes)) == (2, 5, [4, 200, 0, 7])
    assert text.event.text_delta.text == "one " + "x" * 200 + "drei ü"


def test_what_does_not_fit_begins_a_row_and_what_is_too_large_has_one_of_its_own() -> None:
    log = a_log()
    for text_bytes in (6000, 6000, 20_000, 10):
        log.append_body("a", 1, text_delta(0, bytearray(b"x" * text_bytes)))
    rows = event_rows(log.entries(0), 0)
    assert [(row.first_seq, row.seq) for row in rows] == [(1, 2), (3, 3), (4, 4)]
    assert [row.begin_bytes for row in rows] == [0, rows[0].end_bytes, rows[1].end_bytes]
    found = [each.event for row in rows for each in to_stored_events(row.events)]
    assert found == all_events(log)


def test_nothing_is_no_row() -> None:
    assert event_rows([], 5) == []
