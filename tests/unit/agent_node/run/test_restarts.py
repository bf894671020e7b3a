"""A restart within an attempt is counted, once it is published."""

import pytest

from agent_node.events.log import EventLog
from agent_node.run.restarts import WORDS_DIFFER, ValidNumbers
from agentring.errors import StoreUnavailable
from agentring.v1.session_pb2 import AttemptRestarted, Event
from harness.bench import EPOCH


def test_one_that_is_published_counts_and_one_that_has_no_numbers_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    log, valid, before = EventLog(EPOCH, 1 << 20), ValidNumbers(0), WORDS_DIFFER.total
    further = Event(attempt=2, attempt_restarted=AttemptRestarted(reason="WORDS_DIFFER", valid_numbers=3))
    valid.append_further(log, further)
    assert (log.head_seq, WORDS_DIFFER.total) == (4, before + 1)
    monkeypatch.setattr(EventLog, "skip", lambda _log, _numbers: False)
    with pytest.raises(StoreUnavailable):
        valid.append_further(log, further)
    assert (log.head_seq, WORDS_DIFFER.total) == (4, before + 1)
