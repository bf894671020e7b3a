"""Whether a store waits is what its methods do: a session does not guard what cannot be cut off."""

from collections.abc import Coroutine
from typing import Any

import pytest

from agent_node.store import MemoryStore, Ownership
from agentring.ids import parse_session
from harness.stored_turns import accepted, completed, epoch

REF = parse_session("", "s")


def in_one_step(call: Coroutine[Any, Any, Any]) -> Any:
    """Its outcome; fails where it waits for anything."""
    with pytest.raises(StopIteration) as ended:
        call.send(None)
    return ended.value.value


def test_the_store_in_the_process_waits_for_nothing() -> None:
    store = MemoryStore(max_history_turns=3)
    owner = Ownership(REF, epoch(1), "n1/1")
    assert not store.waits
    in_one_step(store.activate(owner, "agent"))
    assert in_one_step(store.accept_turn(owner, accepted(1), 0)).known is None
    assert in_one_step(store.read_turn(REF, "t1")) == accepted(1)
    assert in_one_step(store.start_turn(owner, accepted(1))) == 3
    assert in_one_step(store.commit_turn(owner, completed(accepted(1), '{"a": 1}'))) == 4
    assert in_one_step(store.end_turn(owner, accepted(2), None)) == 5
    assert in_one_step(store.release(owner, None, 0)) == 6
