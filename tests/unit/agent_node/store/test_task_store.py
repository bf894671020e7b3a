"""What every store of tasks promises: a task is accepted once, an epoch is raised and never repeated, only the run of
the highest epoch writes, and only while the task has not ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent_node.store import MemoryTaskStore, StoredTask, TaskEnd, TaskFilter, TaskRequest, TaskStore
from agent_node.store.clock import VolatileClock
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch
from agentring.ids import TaskKey, TaskRef, TenantId, parse_task
from agentring.v1 import session_pb2
from agentring.v1.task_pb2 import (
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
)
from harness.clock import FakeClock
from harness.stored_turns import epoch

REF, OTHER = parse_task("", "k"), parse_task("other", "k")
TENANT = REF.tenant
PassTime = Callable[[float], Awaitable[None]]


@pytest.fixture
async def tasks(url: str, open_sql: Callable[..., Awaitable[SqlStore]], clock: FakeClock) -> TaskStore:
    """An empty store of tasks."""
    return MemoryTaskStore(VolatileClock(clock)) if url == "memory:" else (await open_sql(url)).tasks


def request(ref: TaskRef = REF, name: str = "r1", **changes: Any) -> TaskRequest:
    serialized = session_pb2.Input(text="in").SerializeToString()
    return replace(TaskRequest(ref, "agent", b"f" * 32, serialized, 60.0, False, name), **changes)


def ending(state: Any = TASK_STATE_COMPLETED, **changes: Any) -> TaskEnd:
    outcome = session_pb2.Event(seq=9, attempt=1).SerializeToString()
    return replace(TaskEnd(state, outcome, b"", None), **changes)


async def begun(tasks: TaskStore, revision: int = 3, **changes: Any) -> StoredTask:
    await tasks.accept(request(**changes))
    started = await tasks.start(REF, epoch(revision), "n1/1")
    assert started is not None
    return started


async def test_a_task_is_accepted_once(tasks: TaskStore) -> None:
    first = await tasks.accept(request())
    assert (first.state, first.attempt, first.epoch, first.request_id) == (TASK_STATE_PENDING, 0, 0, "r1")
    assert await tasks.accept(request(name="r2", agent="another", input=b"")) == first
    assert await tasks.accept(request()) == first
    assert (await tasks.accept(request(OTHER, "r3"))).request_id == "r3"


async def test_concurrent_requests_are_one_task(tasks: TaskStore) -> None:
    stored = await asyncio.gather(*(tasks.accept(request(name=f"r{number}")) for number in range(20)))
    assert len({each.request_id for each in stored}) == 1


async def test_a_run_raises_the_epoch_and_ends_with_its_result(tasks: TaskStore) -> None:
    started = await begun(tasks)
    assert (started.state, started.epoch, started.owner, started.attempt) == (TASK_STATE_RUNNING, epoch(3), "n1/1", 1)
    assert started.node_id == "n1"
    commit = await tasks.end(REF, epoch(3), ending(events=b"s", text="t"))
    found = await tasks.read(REF)
    assert found is not None
    assert (found.state, found.events, found.text, found.input) == (TASK_STATE_COMPLETED, b"s", "t", b"")
    assert (found.commit, found.has_ended) == (commit, True)
    assert commit > started.commit
    assert found.expires_ns is not None
    assert 0 <= found.expires_ns - tasks.clock.now().about_ns - 60_000_000_000 <= 10_000_000_000
    assert await tasks.accept(request(name="r2")) == found


@pytest.mark.parametrize("revision", [2, 3])
async def test_an_epoch_is_raised_never_repeated_or_lowered(tasks: TaskStore, revision: int) -> None:
    started = await begun(tasks)
    assert await tasks.start(REF, epoch(revision), "n2/1") is None
    assert await tasks.read(REF) == started


async def test_of_runs_that_begin_at_once_the_highest_epoch_writes(tasks: TaskStore) -> None:
    await tasks.accept(request())
    await asyncio.gather(*(tasks.start(REF, epoch(revision), f"n{revision}/1") for revision in range(1, 9)))
    for revision in range(1, 8):
        with pytest.raises(StaleEpoch):
            await tasks.end(REF, epoch(revision), ending())
    await tasks.end(REF, epoch(8), ending())


def writes(tasks: TaskStore, revision: int) -> list[Callable[[], Awaitable[object]]]:
    """One of each kind that a run makes."""
    return [
        lambda: tasks.assert_owned(REF, epoch(revision)),
        lambda: tasks.requeue(REF, epoch(revision)),
        lambda: tasks.end(REF, epoch(revision), ending(TASK_STATE_FAILED)),
        lambda: tasks.end(REF, epoch(revision), ending(TASK_STATE_CANCELLED, may_begin_anew=True)),
    ]


@pytest.mark.parametrize("write", range(4))
@pytest.mark.parametrize("when", ["accepted", "taken up", "put back", "ended", "begun anew"])
async def test_every_write_of_a_stale_run_is_refused_and_changes_nothing(
    tasks: TaskStore, write: int, when: str
) -> None:
    await tasks.accept(request())
    if when != "accepted":
        await tasks.start(REF, epoch(3), "n1/1")
        await tasks.start(REF, epoch(4), "n2/1")
    match when:
        case "put back":
            await tasks.requeue(REF, epoch(4))
        case "ended":
            await tasks.end(REF, epoch(4), ending())
        case "begun anew":
            await tasks.end(REF, epoch(4), ending(TASK_STATE_CANCELLED, may_begin_anew=True))
            await tasks.accept(request(name="r2"))
    before = await tasks.read(REF)
    with pytest.raises(StaleEpoch):
        await writes(tasks, 3)[write]()
    assert await tasks.read(REF) == before


async def test_an_end_that_is_tried_again_changes_nothing_and_says_the_same(tasks: TaskStore) -> None:
    await begun(tasks)
    commit = await tasks.end(REF, epoch(3), ending())
    found = await tasks.read(REF)
    assert await tasks.end(REF, epoch(3), ending()) == commit
    assert await tasks.read(REF) == found
    with pytest.raises(StaleEpoch):
        await tasks.end(REF, epoch(3), ending(outcome=b"\x08\x05"))


@pytest.mark.parametrize("write", range(4))
async def test_a_late_write_never_meets_the_life_that_follows_its_own(tasks: TaskStore, write: int) -> None:
    """The end of a run whose task nobody watched is on its way once more, while the task has begun anew."""
    await begun(tasks)
    await tasks.end(REF, epoch(3), ending(TASK_STATE_CANCELLED, may_begin_anew=True))
    anew = await tasks.accept(request(name="r2"))
    assert (anew.state, anew.attempt, anew.request_id) == (TASK_STATE_PENDING, 0, "r2")
    with pytest.raises(StaleEpoch):
        await tasks.end(REF, epoch(3), ending(TASK_STATE_FAILED))
    assert await tasks.start(REF, epoch(3), "n1/1") is None
    started = await tasks.start(REF, epoch(4), "n1/1")
    assert started is not None
    with pytest.raises(StaleEpoch):
        await writes(tasks, 3)[write]()
    assert await tasks.read(REF) == started


async def test_a_run_that_was_requeued_is_counted_and_begins_again(tasks: TaskStore) -> None:
    await begun(tasks)
    await tasks.requeue(REF, epoch(3))
    await tasks.requeue(REF, epoch(3))
    with pytest.raises(StaleEpoch):
        await tasks.end(REF, epoch(3), ending())
    again = await tasks.start(REF, epoch(4), "n2/1")
    assert again is not None
    assert (again.attempt, again.input) == (2, request().input)


async def test_an_expired_task_is_not_found_and_begins_anew(tasks: TaskStore, pass_time: PassTime) -> None:
    await begun(tasks, retention_s=0.0)
    await tasks.end(REF, epoch(3), ending())
    await pass_time(30.0)
    assert await tasks.read(REF) is None
    assert await tasks.list_tasks(TENANT, TaskFilter(), TaskKey(""), 10) == []
    anew = await tasks.accept(request(name="r2"))
    assert (anew.state, anew.request_id, anew.has_ended) == (TASK_STATE_PENDING, "r2", False)


async def test_only_what_has_expired_is_removed(tasks: TaskStore, pass_time: PassTime) -> None:
    for name, retention_s in (("gone", 0.0), ("kept", 60.0), ("open", 0.0)):
        ref = parse_task("", name)
        await tasks.accept(request(ref, retention_s=retention_s))
        await tasks.start(ref, epoch(3), "n1/1")
        if name != "open":
            await tasks.end(ref, epoch(3), ending())
    await pass_time(30.0)
    assert (await tasks.expire_ended(), await tasks.expire_ended()) == (1, 0)
    assert [each.key for each in await tasks.list_tasks(TENANT, TaskFilter(), TaskKey(""), 10)] == ["kept", "open"]


async def test_tasks_are_listed_by_their_keys_a_tenant_at_a_time(tasks: TaskStore) -> None:
    # In the order of bytes, which a database's language may not have.
    keys = ["A", "B~", "Z", "a", "a-1", "a.1", "a1", "b", "é".encode().hex()]
    for key in keys:
        await tasks.accept(request(parse_task("", key), agent="second" if key == "b" else "agent"))
    await tasks.accept(request(OTHER))
    await tasks.start(parse_task("", "a1"), epoch(3), "n1/1")

    async def listed(which: TaskFilter, after: str = "", at_most: int = 100) -> list[str]:
        return [each.key for each in await tasks.list_tasks(TENANT, which, TaskKey(after), at_most)]

    assert await listed(TaskFilter()) == sorted(keys)
    assert await listed(TaskFilter(), "Z", 2) == ["a", "a-1"]
    assert await listed(TaskFilter(prefix="a")) == ["a", "a-1", "a.1", "a1"]
    assert await listed(TaskFilter(agent="second")) == ["b"]
    assert await listed(TaskFilter(prefix="a", state=TASK_STATE_RUNNING)) == ["a1"]
    assert await tasks.list_tasks(TenantId("nobody"), TaskFilter(), TaskKey(""), 10) == []


async def test_open_tasks_are_found_page_by_page_until_they_end(tasks: TaskStore) -> None:
    refs = [parse_task(tenant, f"k{number}") for tenant in ("a", "b") for number in range(3)]
    for ref in refs:
        await tasks.accept(request(ref))
    await tasks.start(refs[4], epoch(3), "n1/1")
    await tasks.start(refs[5], epoch(4), "n1/1")
    await tasks.end(refs[5], epoch(4), ending())
    found: list[TaskRef] = []
    while page := await tasks.list_open(found[-1] if found else None, 2):
        found += [each.ref for each in page]
    assert found == refs[:5]
    commits = {each.ref: each.commit for each in await tasks.list_open(None, 10)}
    await tasks.assert_owned(refs[4], epoch(3))
    changed = {each.ref for each in await tasks.list_open(None, 10) if each.commit != commits[each.ref]}
    assert changed == {refs[4]}


async def test_what_a_node_lets_go_of_only_a_durable_store_keeps(tasks: TaskStore) -> None:
    await begun(tasks)
    await tasks.forget_volatile(REF)
    assert (await tasks.read(REF) is not None) == tasks.durable
