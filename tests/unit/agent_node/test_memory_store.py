"""The volatile store: what a durable one promises too, within the process."""

from dataclasses import replace

import pytest

from agent_node.agent import PastTurn
from agent_node.store import MemoryStore, StoredSession, StoredTurn, TurnCommit
from agentring.errors import SessionNotFound, StaleEpoch
from agentring.ids import Epoch, parse_session
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, TURN_STATE_CANCELLED, TURN_STATE_COMPLETED

REF, OTHER = parse_session("", "s"), parse_session("other", "s")
FRESH = StoredSession(REF, "agent", Epoch(0), 5)


def turn(turn_id: str) -> StoredTurn:
    return StoredTurn(turn_id, b"f", TURN_STATE_ACCEPTED, 1)


def commit(number: int) -> TurnCommit:
    ended = replace(turn(f"t{number}"), state=TURN_STATE_COMPLETED, end_seq=9)
    return TurnCommit(ended, f'{{"n": {number}}}', PastTurn(f"in {number}", f"out {number}"))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(max_history_turns=2)


async def test_the_first_activation_makes_the_session_later_ones_find_it(store: MemoryStore) -> None:
    made = await store.activate(FRESH, Epoch(3))
    assert made == replace(FRESH, epoch=Epoch(3))
    await store.accept_turn(REF, Epoch(3), turn("a"))
    await store.commit_turn(REF, Epoch(3), commit(1))
    found = await store.activate(replace(FRESH, agent="another", created_ns=6), Epoch(4))
    assert (found.agent, found.created_ns, found.epoch, found.state_json) == ("agent", 5, 4, '{"n": 1}')
    assert set(found.turns) == {"a", "t1"}


@pytest.mark.parametrize("epoch", [2, 3])
async def test_an_epoch_is_raised_never_repeated_or_lowered(store: MemoryStore, epoch: int) -> None:
    await store.activate(FRESH, Epoch(3))
    with pytest.raises(StaleEpoch):
        await store.activate(FRESH, Epoch(epoch))


@pytest.mark.parametrize("epoch", [2, 4])
async def test_every_write_of_another_epoch_is_refused_and_changes_nothing(store: MemoryStore, epoch: int) -> None:
    await store.activate(FRESH, Epoch(3))
    stale = Epoch(epoch)
    for write in (
        store.accept_turn(REF, stale, turn("a")),
        store.end_turn(REF, stale, turn("a")),
        store.commit_turn(REF, stale, commit(1)),
        store.close_session(REF, stale),
        store.forget_session(REF, stale),
    ):
        with pytest.raises(StaleEpoch):
            await write
    assert await store.activate(FRESH, Epoch(5)) == replace(FRESH, epoch=Epoch(5))


async def test_writes_to_a_session_that_was_never_made_are_refused(store: MemoryStore) -> None:
    for write in (
        store.accept_turn(REF, Epoch(1), turn("a")),
        store.commit_turn(REF, Epoch(1), commit(1)),
        store.close_session(REF, Epoch(1)),
        store.forget_session(REF, Epoch(1)),
    ):
        with pytest.raises(SessionNotFound):
            await write


async def test_a_commit_keeps_turn_state_and_history_in_one(store: MemoryStore) -> None:
    await store.activate(FRESH, Epoch(1))
    for number in (1, 2, 3):
        since = await store.commit_turn(REF, Epoch(1), commit(number))
    assert (since.state_json, since.turns_completed) == ('{"n": 3}', 3)
    assert [past.input_text for past in since.history] == ["in 2", "in 3"]
    assert since.turns["t3"].state == TURN_STATE_COMPLETED


async def test_no_history_may_be_kept() -> None:
    store = MemoryStore(max_history_turns=0)
    await store.activate(FRESH, Epoch(1))
    since = await store.commit_turn(REF, Epoch(1), commit(1))
    assert (since.history, since.turns_completed) == ((), 1)


async def test_a_turn_that_ends_otherwise_changes_nothing_else(store: MemoryStore) -> None:
    await store.activate(FRESH, Epoch(1))
    await store.accept_turn(REF, Epoch(1), turn("a"))
    await store.end_turn(REF, Epoch(1), replace(turn("a"), state=TURN_STATE_CANCELLED, end_seq=2))
    since = await store.activate(FRESH, Epoch(2))
    assert since.turns["a"].state == TURN_STATE_CANCELLED
    assert (since.state_json, since.turns_completed, since.history) == ("{}", 0, ())


async def test_a_closed_session_stays_closed_until_it_is_forgotten(store: MemoryStore) -> None:
    await store.activate(FRESH, Epoch(1))
    await store.close_session(REF, Epoch(1))
    assert (await store.activate(FRESH, Epoch(2))).closed
    await store.forget_session(REF, Epoch(2))
    again = await store.activate(FRESH, Epoch(3))
    assert (again.closed, again.turns_completed, dict(again.turns)) == (False, 0, {})


async def test_tenants_and_sessions_share_nothing(store: MemoryStore) -> None:
    await store.activate(FRESH, Epoch(1))
    await store.activate(replace(FRESH, ref=OTHER), Epoch(2))
    await store.accept_turn(REF, Epoch(1), turn("a"))
    assert dict((await store.activate(replace(FRESH, ref=OTHER), Epoch(3))).turns) == {}
