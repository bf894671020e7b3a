"""What every store promises: epochs are raised, never repeated; only the highest one's owner writes; what was written
is found by the next activation. The volatile store promises it within one process."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent_node.store import SEQ_RANGE, Acceptance, Ownership, Store, StoredInput, StoredSession, ToolStart, Trim
from agentring.agent import PastTurn
from agentring.errors import StaleEpoch
from agentring.ids import parse_session
from agentring.v1.session_pb2 import TURN_STATE_CANCELLED, TURN_STATE_RUNNING
from harness.stored_turns import accepted, cancelled, completed, epoch

REF, OTHER = parse_session("", "s"), parse_session("other", "s")


def owned(revision: int, owner: str = "n1/1") -> Ownership:
    return Ownership(REF, epoch(revision), owner)


def writes(store: Store, ownership: Ownership) -> list[Callable[[], Awaitable[Acceptance | Trim | int]]]:
    """One of each kind."""
    turn = accepted(1)
    return [
        lambda: store.accept_turn(ownership, turn, None),
        lambda: store.start_turn(ownership, replace(turn, state=TURN_STATE_RUNNING)),
        lambda: store.start_tool(ownership, ToolStart("t1", 1, "t1.1.1", "search")),
        lambda: store.keep_input(ownership, StoredInput("t1.1", "t1", 1)),
        lambda: store.end_turn(ownership, cancelled(turn), 9),
        lambda: store.commit_turn(ownership, completed(turn, '{"n": 1}')),
        lambda: store.extend_range(ownership, 5 * SEQ_RANGE),
        lambda: store.trim_events(ownership, 9),
        lambda: store.close_session(ownership, 9),
        lambda: store.release(ownership, 9, 9),
    ]


async def test_the_first_activation_makes_the_session_and_later_ones_find_it(store: Store) -> None:
    made = await store.activate(owned(3), "agent")
    assert made == StoredSession(REF, "agent", epoch(3), made.created_ns, was_released=True, commit=1)
    await store.accept_turn(owned(3), accepted(1), 0)
    await store.accept_turn(owned(3), accepted(2), None)
    await store.commit_turn(owned(3), completed(accepted(1), '{"n": 1}'))
    found = await store.activate(owned(4, "n2/5"), "another")
    assert (found.agent, found.created_ns, found.epoch) == ("agent", made.created_ns, epoch(4))
    assert (found.state_json, found.turns_completed, found.turns_accepted) == ('{"n": 1}', 1, 2)
    assert found.history == (PastTurn("in 1", "out 1"),)
    assert found.turns["t2"] == accepted(2)
    assert replace(found.turns["t1"], input=b"") == completed(accepted(1)).turn
    assert (found.closed, found.commit) == (False, 5)


@pytest.mark.parametrize("revision", [2, 3])
async def test_an_epoch_is_raised_never_repeated_or_lowered(store: Store, revision: int) -> None:
    await store.activate(owned(3), "agent")
    for owner in ("n1/1", "n2/5"):
        with pytest.raises(StaleEpoch):
            await store.activate(owned(revision, owner), "agent")
    assert await store.extend_range(owned(3), 2 * SEQ_RANGE) == 2


@pytest.mark.parametrize("write", range(9))
@pytest.mark.parametrize(
    "stranger", [owned(2), owned(4), owned(3, "n2/1"), Ownership(OTHER, epoch(3), "n1/1")], ids=lambda each: str(each)
)
async def test_every_write_of_another_epoch_or_owner_is_refused_and_changes_nothing(
    store: Store, write: int, stranger: Ownership
) -> None:
    made = await store.activate(owned(3), "agent")
    with pytest.raises(StaleEpoch):
        await writes(store, stranger)[write]()
    found = await store.activate(owned(5), "agent")
    assert found == replace(
        made,
        epoch=epoch(5),
        was_released=store.durable is False,
        owner_lives=store.durable,  # the same one again
        log_seq=SEQ_RANGE,
        reserved_seq=2 * SEQ_RANGE,
        commit=2,
    )


async def test_every_write_has_the_next_commit_number(store: Store) -> None:
    assert (await store.activate(owned(1), "agent")).commit == 1
    for number, write in enumerate(writes(store, owned(1)), 2):
        done = await write()
        assert (done if isinstance(done, int) else done.commit) == number


async def test_a_turn_is_accepted_once_under_its_name(store: Store) -> None:
    await store.activate(owned(1), "agent")
    assert (await store.accept_turn(owned(1), accepted(1, "same"), 0)).known is None
    known = (await store.accept_turn(owned(1), accepted(2, "same"), 0)).known
    assert known == accepted(1, "same")
    assert (await store.activate(owned(2), "agent")).turns_accepted == 1


async def test_a_turn_that_ends_otherwise_changes_nothing_else(store: Store) -> None:
    await store.activate(owned(1), "agent")
    await store.accept_turn(owned(1), accepted(1), 0)
    await store.end_turn(owned(1), cancelled(accepted(1)), None)
    found = await store.activate(owned(2), "agent")
    known = await store.read_turn(REF, "t1")
    assert known is not None
    assert (known.state, known.outcome_event()) == (TURN_STATE_CANCELLED, cancelled(accepted(1)).outcome_event())
    assert (found.state_json, found.turns_completed, found.history, found.head_seq) == ("{}", 0, (), 0)
    assert [turn for turn in found.turns.values() if turn.end_seq is None] == []


async def test_the_latest_completed_turns_are_the_history(store: Store) -> None:
    await store.activate(owned(1), "agent")
    for number in range(1, 6):
        await store.accept_turn(owned(1), accepted(number), None)
        await store.commit_turn(owned(1), completed(accepted(number), f'{{"n": {number}}}'))
    found = await store.activate(owned(2), "agent")
    assert [past.output_text for past in found.history] == ["out 3", "out 4", "out 5"]
    assert (found.state_json, found.turns_completed, found.head_seq) == ('{"n": 5}', 5, 55)


async def test_an_end_that_an_earlier_owner_may_not_have_told_is_found_by_the_next_activation(store: Store) -> None:
    """Of a turn that was cancelled while another ran: it is no history, and the events of it may be lost."""
    await store.activate(owned(1), "agent")
    await store.accept_turn(owned(1), accepted(1), None)
    await store.accept_turn(owned(1), accepted(2), None)
    await store.end_turn(owned(1), cancelled(accepted(2)), None)
    found = (await store.activate(owned(2), "agent")).turns
    assert replace(found["t2"], input=b"") == cancelled(accepted(2))
    assert found["t1"].end_seq is None


async def test_an_end_that_was_told_later_than_stored_is_put_right_with_the_next_write(store: Store) -> None:
    await store.activate(owned(1), "agent")
    for number in (1, 2):
        await store.accept_turn(owned(1), accepted(number), None)
    await store.end_turn(owned(1), cancelled(accepted(2)), None)
    moved = replace(cancelled(accepted(2)), end_seq=99)
    await store.commit_turn(owned(1), completed(accepted(1)), [moved])
    known = await store.read_turn(REF, "t2")
    assert known is not None
    assert known.end_seq == 99


async def test_numbers_are_reserved_in_ranges_and_never_twice(store: Store) -> None:
    first = await store.activate(owned(1), "agent")
    assert (first.log_seq, first.reserved_seq) == (0, SEQ_RANGE)
    second = await store.activate(owned(2), "agent")
    assert (second.log_seq, second.reserved_seq, second.head_seq) == (SEQ_RANGE, 2 * SEQ_RANGE, 0)
    await store.extend_range(owned(2), 3 * SEQ_RANGE)
    third = await store.activate(owned(3), "agent")
    assert (third.log_seq, third.reserved_seq) == (3 * SEQ_RANGE, 4 * SEQ_RANGE)


async def test_tenants_and_sessions_share_nothing(store: Store) -> None:
    await store.activate(owned(1), "agent")
    other = Ownership(OTHER, epoch(2), "n1/1")
    assert (await store.activate(other, "another")).agent == "another"
    await store.accept_turn(owned(1), accepted(1), None)
    assert (await store.activate(replace(other, epoch=epoch(3)), "")).turns == {}
    assert await store.read_turn(OTHER, "t1") is None


async def test_an_epoch_is_raised_by_one_of_many_and_one_owner_is_left(store: Store) -> None:
    """Racing activations: each epoch either raised before a later one or was refused; the highest one writes."""

    async def race(revision: int) -> StoredSession | StaleEpoch:
        try:
            return await store.activate(owned(revision, f"n{revision}/1"), "agent")
        except StaleEpoch as error:
            return error

    won = await asyncio.gather(*(race(1 + (7 * number) % 20) for number in range(20)))
    raised = [each for each in won if isinstance(each, StoredSession)]
    assert max(each.epoch for each in raised) == epoch(20)
    in_order = sorted(raised, key=lambda each: each.commit)
    assert [each.epoch for each in in_order] == sorted(each.epoch for each in raised)
    assert [each.log_seq for each in in_order] == [SEQ_RANGE * number for number in range(len(raised))]
    for revision in range(1, 20):
        with pytest.raises(StaleEpoch):
            await store.extend_range(owned(revision, f"n{revision}/1"), SEQ_RANGE)
    await store.extend_range(owned(20, "n20/1"), 99 * SEQ_RANGE)
