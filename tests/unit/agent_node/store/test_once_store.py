"""What every store promises of the runs of steps: epochs are compared, endings stand, retention is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent_node.store import Store
from agent_node.store.once_records import (
    MOST_DEATHS,
    Ending,
    OnceCaller,
    OnceOwnership,
    RunStart,
    StoredRun,
    begin,
    end_orphan,
    resolve,
)
from agentring.errors import RunNotFound, RunNotResolvable, StaleEpoch
from agentring.ids import OnceRef, parse_once, parse_session, parse_task
from agentring.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    TASK_STATE_UNKNOWN,
    TASK_STATE_UNSPECIFIED,
)
from harness.stored_turns import epoch

KEY = parse_once("acme", "charge/7%_")
PassTime = Callable[[float], Awaitable[None]]
TURN = OnceCaller(parse_session("acme", "s"), "t")
TASK = OnceCaller(parse_task("acme", "report"))
COMPLETED = Ending(TASK_STATE_COMPLETED, '{"n": "é"}')
FAILED = Ending(TASK_STATE_FAILED, error_type="LookupError", error_text="no such account")


def owned(revision: int, ref: OnceRef = KEY) -> OnceOwnership:
    return OnceOwnership(ref, epoch(revision), f"n{revision}/{revision}")


def start(run_id: str = "r", *, idempotent: bool = True, caller: OnceCaller = TURN, **more: Any) -> RunStart:
    return replace(RunStart(caller, idempotent, run_id, 100.0), **more)


async def begun(
    store: Store, revision: int, run_id: str = "r", *, ref: OnceRef = KEY, idempotent: bool = True, **more: Any
) -> StoredRun:
    ownership = owned(revision, ref)
    return await store.once.change(ownership, begin(ownership, start(run_id, idempotent=idempotent, **more)))


async def read(store: Store, ref: OnceRef = KEY) -> StoredRun:
    row = await store.once.read(ref)
    assert row is not None
    return row


@pytest.mark.parametrize("caller", [TURN, TASK])
async def test_a_run_is_begun_ended_and_read(store: Store, caller: OnceCaller) -> None:
    assert await store.once.read(KEY) is None
    row = await begun(store, 5, caller=caller)
    assert row == await read(store)
    assert (row.ref, row.run_id, row.attempt, row.state) == (KEY, "r", 1, TASK_STATE_RUNNING)
    assert (row.epoch, row.owner, row.caller, row.idempotent) == (epoch(5), "n5/5", caller, True)
    await store.once.end(owned(5), COMPLETED, 60.0)
    ended = await read(store)
    assert ended.ending == COMPLETED
    assert ended.ended_ns is not None
    assert ended.settled_ns is not None
    assert ended.expires_ns is not None
    assert 60 * 10**9 <= ended.expires_ns - ended.settled_ns <= 70 * 10**9
    assert (await begun(store, 6, "other")).ending == COMPLETED  # replayed: only the epoch was raised
    assert replace(await read(store), epoch=epoch(5), owner="n5/5") == ended


async def test_no_epoch_is_raised_twice_and_none_lowered(store: Store) -> None:
    await begun(store, 5)
    for revision in (5, 4):
        with pytest.raises(StaleEpoch):
            await begun(store, revision)
    assert (await read(store)).epoch == epoch(5)


async def test_an_ending_of_an_earlier_epoch_or_another_owner_does_not_land(store: Store) -> None:
    await begun(store, 5)
    await begun(store, 6)
    for ownership in (owned(5), replace(owned(6), owner="n5/5"), owned(7), owned(6, parse_once("acme", "none"))):
        with pytest.raises(StaleEpoch):
            await store.once.end(ownership, COMPLETED, 60.0)
    assert (await read(store)).state == TASK_STATE_RUNNING


async def test_an_ending_that_is_stored_again_changes_nothing_and_another_does_not_land(store: Store) -> None:
    await begun(store, 5)
    await store.once.end(owned(5), FAILED, 60.0)
    before = await read(store)
    await store.once.end(owned(5), FAILED, 90.0)
    with pytest.raises(StaleEpoch):
        await store.once.end(owned(5), COMPLETED, 60.0)
    assert await read(store) == before
    assert before.ending == FAILED


async def test_of_many_owners_at_once_the_highest_epoch_wins(store: Store) -> None:
    revisions = [9, 3, 12, 7, 5, 11]
    outcomes = await asyncio.gather(*(begun(store, each, f"r{each}") for each in revisions), return_exceptions=True)
    assert (await read(store)).epoch == epoch(12)
    assert all(isinstance(each, StoredRun | StaleEpoch) for each in outcomes)
    run_ids = {each.run_id for each in outcomes if isinstance(each, StoredRun)}
    assert run_ids == {(await read(store)).run_id}  # whoever was first has named the run
    attempts = [each.attempt for each in outcomes if isinstance(each, StoredRun)]
    # Each takes the one before for a node that has ended, so the third is no attempt any more.
    assert sorted(attempts) == [min(each, MOST_DEATHS) for each in range(1, len(attempts) + 1)]


async def test_what_was_cut_off_is_begun_again_only_where_both_may(store: Store) -> None:
    await begun(store, 5, "first")
    again = await begun(store, 6, "second")
    assert (again.state, again.attempt, again.run_id) == (TASK_STATE_RUNNING, 2, "first")
    unknown = await begun(store, 7, idempotent=False)
    assert (unknown.state, unknown.attempt, unknown.expires_ns) == (TASK_STATE_UNKNOWN, 2, None)
    assert (await begun(store, 8)).state == TASK_STATE_UNKNOWN


async def test_what_was_requeued_or_never_begun_is_not_cut_off(store: Store) -> None:
    await begun(store, 5, idempotent=False)
    row = await begun(store, 6, idempotent=False, not_begun=frozenset({epoch(5)}))
    assert (row.state, row.attempt) == (TASK_STATE_RUNNING, 1)
    await store.once.end(owned(6), Ending(TASK_STATE_PENDING), None)
    assert (await begun(store, 7, idempotent=False)).state == TASK_STATE_RUNNING


async def test_a_failure_stands_for_a_while_or_to_the_end(store: Store) -> None:
    await begun(store, 5, "first")
    await store.once.end(owned(5), FAILED, 60.0)
    assert (await begun(store, 6)).ending == FAILED
    assert (await begun(store, 7, failure_s=0.0, idempotent=False)).ending == FAILED
    row = await begun(store, 8, "second", failure_s=0.0)
    assert (row.state, row.run_id, row.attempt) == (TASK_STATE_RUNNING, "first", 2)
    assert (row.ended_ns, row.expires_ns) == (None, None)


async def test_an_ending_whose_retention_is_over_is_as_none(store: Store, pass_time: PassTime) -> None:
    await begun(store, 5, "first")
    await store.once.end(owned(5), COMPLETED, 0.0)
    await pass_time(30.0)
    row = await begun(store, 6, "second")
    assert (row.state, row.run_id, row.attempt) == (TASK_STATE_RUNNING, "second", 1)
    await store.once.end(owned(6), COMPLETED, 0.0)
    other = parse_once("acme", "other")
    await begun(store, 7, ref=other)
    await store.once.end(owned(7, other), COMPLETED, 3_600.0)
    await pass_time(30.0)
    assert await store.once.expire_ended() == 1
    assert await store.once.expire_ended() == 0
    assert await store.once.read(KEY) is None
    assert (await read(store, other)).ending == COMPLETED


async def test_an_orphan_has_failed_or_is_unknown(store: Store) -> None:
    other = parse_once("acme", "other")
    await begun(store, 5)
    await begun(store, 5, ref=other, idempotent=False)
    assert {row.ref for row in await store.once.open_runs(None, 10)} == {KEY, other}
    assert [row.ref for row in await store.once.open_runs(KEY, 10)] == [other]
    failed = await store.once.change(owned(6), end_orphan(owned(6), TURN, 60.0))
    assert (failed.state, failed.ending.error_type) == (TASK_STATE_FAILED, "TurnEnded")
    unknown = await store.once.change(owned(6, other), end_orphan(owned(6, other), TURN, 60.0))
    assert (unknown.state, unknown.expires_ns) == (TASK_STATE_UNKNOWN, None)
    assert await store.once.open_runs(None, 10) == []
    assert (await store.once.change(owned(7), end_orphan(owned(7), TURN, 60.0))).ending == failed.ending
    await begun(store, 8, ref=(others := parse_once("acme", "others")), caller=TASK)
    running = await store.once.change(owned(9, others), end_orphan(owned(9, others), TURN, 60.0))
    assert (running.state, running.caller) == (TASK_STATE_RUNNING, TASK)
    none = parse_once("acme", "none")
    with pytest.raises(RunNotFound):
        await store.once.change(owned(7, none), end_orphan(owned(7, none), TURN, 60.0))
    assert await store.once.read(none) is None


async def test_what_is_unknown_or_failed_is_resolved_by_a_later_owner(store: Store) -> None:
    await begun(store, 5, "first", idempotent=False)
    with pytest.raises(RunNotResolvable):
        await store.once.change(owned(6), resolve(owned(6), "7", 60.0))
    assert (await read(store)).epoch == epoch(5)  # what is refused changes nothing
    await store.once.end(owned(5), Ending(TASK_STATE_UNKNOWN), None)
    with pytest.raises(StaleEpoch):
        await store.once.change(owned(4), resolve(owned(4), "7", 60.0))
    again = await store.once.change(owned(6), resolve(owned(6), None, 60.0))
    assert (again.state, again.expires_ns is None) == (TASK_STATE_PENDING, False)
    assert await store.once.open_runs(None, 10) == []  # nobody's turn runs it by itself
    row = await begun(store, 7, "second", idempotent=False)
    assert (row.state, row.run_id, row.attempt) == (TASK_STATE_RUNNING, "first", 2)
    await store.once.end(owned(7), FAILED, 60.0)
    settled = await store.once.change(owned(8), resolve(owned(8), "7", 60.0))
    assert settled.ending == Ending(TASK_STATE_COMPLETED, "7")
    assert await read(store) == settled


async def test_runs_are_listed_by_tenant_prefix_and_state_in_the_order_of_their_keys(store: Store) -> None:
    names = ["b%1", "b_2", "a", "b%", "B", "c"]
    for number, name in enumerate(names, 1):
        await begun(store, number, ref=parse_once("acme", name))
    await begun(store, 9, ref=parse_once("other", "b%3"))
    await store.once.end(owned(1, parse_once("acme", "b%1")), COMPLETED, 60.0)

    async def listed(
        prefix: str = "", after: str = "", state: int = TASK_STATE_UNSPECIFIED, limit: int = 10
    ) -> list[str]:
        runs = await store.once.list_runs(KEY.tenant, prefix, after, type(TASK_STATE_RUNNING)(state), limit)
        assert [run.ending.result_json for run in runs] == [""] * len(runs)  # which may be large
        return [run.ref.task_key for run in runs]

    assert await listed() == sorted(names)
    assert await listed("b%") == ["b%", "b%1"]
    assert await listed("b") == ["b%", "b%1", "b_2"]
    assert await listed("b", "b%", limit=1) == ["b%1"]
    assert await listed(state=TASK_STATE_COMPLETED) == ["b%1"]
