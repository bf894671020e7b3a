"""Every store counts how many runs of a turn, a task and a step ended with their node, apart from other re-runs."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent_node.store import MemoryTaskStore, Ownership, Store, TaskRequest, TaskStore
from agent_node.store.once_records import (
    ENDED_NODE,
    Ending,
    OnceCaller,
    OnceOwnership,
    RunStart,
    StoredRun,
    begin,
    resolve,
)
from agent_node.store.sql.sessions import SqlStore
from agentring.ids import parse_once, parse_session, parse_task
from agentring.v1.task_pb2 import (
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    TASK_STATE_UNKNOWN,
)
from harness.stored_turns import accepted, epoch

REF, TASK, KEY = parse_session("", "s"), parse_task("", "k"), parse_once("", "k")


@pytest.fixture
async def tasks(url: str, open_sql: Callable[..., Awaitable[SqlStore]]) -> TaskStore:
    return MemoryTaskStore() if url == "memory:" else (await open_sql(url)).tasks


def owned(revision: int, owner: str) -> Ownership:
    return Ownership(REF, epoch(revision), owner)


async def test_a_turns_are_kept_with_it(store: Store) -> None:
    await store.activate(owned(1, "n1/1"), "agent")
    turn = replace(accepted(1), deaths=1)
    await store.accept_turn(owned(1, "n1/1"), turn, None)
    await store.start_turn(owned(1, "n1/1"), replace(turn, deaths=2, attempt=3))
    found = (await store.activate(owned(2, "n2/2"), "agent")).turns["t1"]
    assert (found.deaths, found.attempt) == (2, 3)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_an_activation_says_what_became_of_the_owner(store: Store) -> None:
    async def activated(revision: int, owner: str) -> tuple[bool, bool]:
        made = await store.activate(owned(revision, owner), "agent")
        return made.was_released, made.owner_lives

    assert await activated(1, "n1/1") == (True, False)
    assert await activated(2, "n2/2") == (False, False)  # lost
    assert await activated(3, "n2/2") == (False, True)  # itself
    await store.release(owned(3, "n2/2"), 0, 0)
    assert await activated(4, "n2/2") == (True, False)


async def test_a_task_that_was_requeued_or_taken_again_has_lost_no_node(tasks: TaskStore) -> None:
    async def deaths(revision: int, owner: str) -> int:
        started = await tasks.start(TASK, epoch(revision), owner)
        assert started is not None
        return started.deaths

    await tasks.accept(TaskRequest(TASK, "agent", b"f" * 32, b"", 60.0, False, "r1"))
    assert await deaths(1, "n1/1") == 0
    assert await deaths(2, "n2/2") == 1
    await tasks.requeue(TASK, epoch(2))
    assert await deaths(3, "n3/3") == 1
    assert await deaths(4, "n3/3") == 1
    assert await deaths(5, "n1/5") == 2


async def began(
    store: Store, revision: int, owner: str, *, idempotent: bool = True, in_child: bool = False
) -> StoredRun:
    ownership = OnceOwnership(KEY, epoch(revision), owner)
    start = RunStart(OnceCaller(REF, "t"), idempotent, "run", 0.0, in_child=in_child)
    return await store.once.change(ownership, begin(ownership, start))


async def test_a_step_that_ran_on_two_nodes_when_they_ended_is_not_run_again(store: Store) -> None:
    assert (await began(store, 1, "n1/1")).deaths == 0
    second = await began(store, 2, "n2/2")
    assert (second.deaths, second.state) == (1, TASK_STATE_RUNNING)
    third = await began(store, 3, "n3/3")
    assert (third.state, third.ending.error_type) == (TASK_STATE_FAILED, ENDED_NODE)
    # Although another failure would have been forgotten by now.
    assert (await began(store, 4, "n1/1")).ending.error_type == ENDED_NODE
    ownership = OnceOwnership(KEY, epoch(5), "n1/1")
    settled = await store.once.change(ownership, resolve(ownership, None, 60.0))
    assert (settled.state, settled.deaths) == (TASK_STATE_PENDING, 0)
    assert (await began(store, 6, "n1/1")).state == TASK_STATE_RUNNING


async def test_one_that_ran_in_a_child_process_has_ended_no_node(store: Store) -> None:
    """However many nodes are killed under it: only the first, where it ran beside others, may have been its fault."""
    await began(store, 1, "n1/1")
    for revision in range(2, 8):
        made = await began(store, revision, f"n{revision}/1", in_child=True)
        assert (made.state, made.deaths, made.attempt) == (TASK_STATE_RUNNING, 1, revision)
    made = await began(store, 8, "n8/1")  # for another turn, which was never cut off
    assert (made.state, made.deaths) == (TASK_STATE_RUNNING, 1)
    assert (await began(store, 9, "n9/1")).ending.error_type == ENDED_NODE


async def test_a_step_that_was_cut_off_otherwise_is(store: Store) -> None:
    for revision in range(1, 8, 2):
        await began(store, revision, "n1/1")
        await store.once.end(OnceOwnership(KEY, epoch(revision), "n1/1"), Ending(TASK_STATE_PENDING), None)
        assert (await began(store, revision + 1, "n1/1")).state == TASK_STATE_RUNNING


async def test_one_that_must_not_run_twice_is_unknown_after_the_first(store: Store) -> None:
    await began(store, 1, "n1/1", idempotent=False)
    assert (await began(store, 2, "n2/2", idempotent=False)).state == TASK_STATE_UNKNOWN
