"""The SQL store's transactions about tasks, one function each, over a connection on which a transaction has begun.

Guarantees: an UPDATE compares epoch and state in the statement that changes the row. A stale run therefore never
changes anything, also where the same key has begun a new life since: the row of a new life is PENDING, or has a later
epoch. A refusal is raised before anything was written, so that others can share the transaction. A write of a run whose
answer was lost is recognised when it is tried again: the row has the run's epoch and is as the write left it, and
nobody else writes under that epoch. Where the statements stand is said at store/task_store.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, bindparam, case, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.clock import Moment, in_ns
from agent_node.store.sql import step_schema, storage_schema
from agent_node.store.sql.generation import check_generation
from agent_node.store.sql.hot_statement import HotStatement, Row
from agent_node.store.sql.task_schema import tasks
from agent_node.store.step_records import Life
from agent_node.store.storage_records import task_scope
from agent_node.store.task_records import ListedTask, OpenTask, StoredTask, TaskEnd, TaskFilter, TaskRequest
from agentring.errors import StaleEpoch
from agentring.ids import Epoch, TaskKey, TaskRef, TenantId
from agentring.v1.task_pb2 import TASK_STATE_PENDING, TASK_STATE_RUNNING, TASK_STATE_UNSPECIFIED

_EXPIRE_AT_ONCE = 500
_AFTER_ALL = "\x7f"
"""Greater than every character of a key."""

_NOW_NS = bindparam("now_ns", type_=BigInteger)
_OF_TASK = (tasks.c.tenant == bindparam("k_tenant")) & (tasks.c.task_key == bindparam("k_task_key"))
_READ = HotStatement(select(tasks).where(_OF_TASK))
_OWNED = _OF_TASK & (tasks.c.epoch == bindparam("k_epoch")) & (tasks.c.state == TASK_STATE_RUNNING)
_COUNTED = {"commit_number": tasks.c.commit_number + 1}
_START = HotStatement(
    update(tasks)
    .where(_OF_TASK, tasks.c.ended_ns.is_(None), tasks.c.epoch < bindparam("new_epoch"))
    .values(
        epoch=bindparam("new_epoch"),
        owner=bindparam("new_owner"),
        state=TASK_STATE_RUNNING,
        attempt=tasks.c.attempt + 1,
        deaths=tasks.c.deaths
        + case((and_(tasks.c.state == TASK_STATE_RUNNING, tasks.c.owner != bindparam("new_owner")), 1), else_=0),
        **_COUNTED,
    )
)
_ASSERT_OWNED = HotStatement(update(tasks).where(_OWNED).values(**_COUNTED).returning(tasks.c.commit_number))
_REQUEUE = HotStatement(update(tasks).where(_OWNED).values(state=TASK_STATE_PENDING, **_COUNTED))
_END = HotStatement(
    update(tasks)
    .where(_OWNED)
    .values(
        state=bindparam("new_state"),
        ended_ns=bindparam("wall_ns", type_=BigInteger),
        expires_ns=bindparam("at_most_ns", type_=BigInteger) + tasks.c.retention_ns,
        may_begin_anew=bindparam("new_may_begin_anew"),
        outcome=bindparam("new_outcome"),
        story=bindparam("new_story"),
        text=bindparam("new_text"),
        input=b"",
        **_COUNTED,
    )
    .returning(tasks.c.commit_number)
)
_BEGIN_ANEW = HotStatement(
    update(tasks)
    .where(
        _OF_TASK,
        tasks.c.ended_ns.is_not(None),
        or_(tasks.c.may_begin_anew == 1, tasks.c.expires_ns <= _NOW_NS),
    )
    .values(
        agent=bindparam("new_agent"),
        fingerprint=bindparam("new_fingerprint"),
        input=bindparam("new_input"),
        retention_ns=bindparam("new_retention_ns"),
        cancel_when_unwatched=bindparam("new_cancel_when_unwatched"),
        request_id=bindparam("new_request_id"),
        created_ns=bindparam("wall_ns", type_=BigInteger),
        # Epoch and commit number go on from where they are: what is left of the life before compares with them.
        state=TASK_STATE_PENDING,
        owner="",
        attempt=0,
        ended_ns=None,
        expires_ns=None,
        may_begin_anew=0,
        outcome=b"",
        story=b"",
        text=None,
        deaths=0,
        **_COUNTED,
    )
)
_INSERTS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_LATER = ("ended_ns", "expires_ns", "text", "deaths")
"""Columns that a new task does not have yet."""
_ACCEPT = HotStatement(
    {
        dialect: make(tasks).on_conflict_do_nothing(index_elements=[tasks.c.tenant, tasks.c.task_key])
        for dialect, make in _INSERTS.items()
    },
    [column.name for column in tasks.columns if column.name not in _LATER],
)
_LISTED = (
    tasks.c.task_key,
    tasks.c.agent,
    tasks.c.state,
    tasks.c.epoch,
    tasks.c.owner,
    tasks.c.attempt,
    tasks.c.created_ns,
    tasks.c.ended_ns,
)


def accept(connection: Connection, request: TaskRequest, generation: int, now: Moment) -> StoredTask:
    """As TaskStore."""
    check_generation(connection, generation)
    wanted = {
        "agent": request.agent,
        "fingerprint": request.fingerprint,
        "input": request.input,
        "retention_ns": in_ns(request.retention_s),
        "cancel_when_unwatched": int(request.cancel_when_unwatched),
        "request_id": request.request_id,
    }
    fresh = {
        "tenant": request.ref.tenant,
        "task_key": request.ref.task_key,
        "state": TASK_STATE_PENDING,
        "epoch": 0,
        "owner": "",
        "attempt": 0,
        "commit_number": 1,
        "created_ns": now.wall_ns,
        "may_begin_anew": 0,
        "outcome": b"",
        "story": b"",
    }
    if _ACCEPT.change(connection, wanted | fresh) != 1:
        anew = {f"new_{name}": value for name, value in wanted.items()}
        _BEGIN_ANEW.change(connection, _keys(request.ref) | anew | {"now_ns": now.at_least_ns, "wall_ns": now.wall_ns})
    stored = _find(connection, request.ref)
    if stored is None:  # it expired between the two statements, and another node has removed it
        return accept(connection, request, generation, now)
    return stored


def start(connection: Connection, ref: TaskRef, epoch: Epoch, owner: str, generation: int) -> StoredTask | None:
    """As TaskStore."""
    check_generation(connection, generation)
    # Invariant: at most one run of a task is taken on at a time, each under a higher epoch
    # (tests/unit/agent_node/store/test_task_store.py).
    raised = _START.change(connection, _keys(ref) | {"new_epoch": epoch, "new_owner": owner})
    return _find(connection, ref) if raised == 1 else None


def assert_owned(connection: Connection, ref: TaskRef, epoch: Epoch) -> int:
    """As TaskStore."""
    commit = _ASSERT_OWNED.scalar(connection, _keys(ref) | {"k_epoch": epoch})
    if commit is None:
        raise StaleEpoch
    return int(commit)


def end(connection: Connection, ref: TaskRef, epoch: Epoch, ended: TaskEnd, now: Moment) -> int:
    """As TaskStore."""
    values = {
        "k_epoch": epoch,
        "new_state": ended.state,
        "wall_ns": now.wall_ns,
        "at_most_ns": now.at_most_ns,
        "new_may_begin_anew": int(ended.may_begin_anew),
        "new_outcome": ended.outcome,
        "new_story": ended.events,
        "new_text": ended.text,
    }
    commit = _END.scalar(connection, _keys(ref) | values)
    if commit is not None:
        if ended.life_id:
            step_schema.forget(connection, Life(ref.tenant, ended.life_id))
            storage_schema.forget(connection, task_scope(ref.tenant, ended.life_id))
        return int(commit)
    stored = _find(connection, ref)
    if stored is None or stored.epoch != epoch or stored.outcome != ended.outcome:
        raise StaleEpoch
    return stored.commit


def requeue(connection: Connection, ref: TaskRef, epoch: Epoch) -> None:
    """As TaskStore."""
    if _REQUEUE.change(connection, _keys(ref) | {"k_epoch": epoch}) == 1:
        return
    stored = _find(connection, ref)
    if stored is None or stored.epoch != epoch or stored.state != TASK_STATE_PENDING:
        raise StaleEpoch


def read(connection: Connection, ref: TaskRef, now: Moment) -> StoredTask | None:
    """As TaskStore."""
    stored = _find(connection, ref)
    return None if stored is not None and stored.has_expired(now) else stored


def list_tasks(
    connection: Connection, tenant: TenantId, which: TaskFilter, after: TaskKey, at_most: int, now: Moment
) -> list[ListedTask]:
    """As TaskStore."""
    key = tasks.c.task_key
    query: Select[Any] = select(*_LISTED).where(
        tasks.c.tenant == tenant,
        key > after,
        or_(tasks.c.expires_ns.is_(None), tasks.c.expires_ns > now.at_least_ns),
    )
    if which.prefix:
        query = query.where(key >= which.prefix, key < which.prefix + _AFTER_ALL)
    if which.agent:
        query = query.where(tasks.c.agent == which.agent)
    if which.state != TASK_STATE_UNSPECIFIED:
        query = query.where(tasks.c.state == which.state)
    rows = connection.execute(query.order_by(key).limit(at_most))
    return [ListedTask(TaskKey(row[0]), row[1], row[2], Epoch(row[3]), *row[4:]) for row in rows]


def list_open(connection: Connection, after: TaskRef | None, at_most: int) -> Sequence[OpenTask]:
    """As TaskStore."""
    tenant, key = tasks.c.tenant, tasks.c.task_key
    query = select(tenant, key, tasks.c.agent, tasks.c.commit_number).where(tasks.c.ended_ns.is_(None))
    if after is not None:
        query = query.where(or_(tenant > after.tenant, and_(tenant == after.tenant, key > after.task_key)))
    rows = connection.execute(query.order_by(tenant, key).limit(at_most))
    return [OpenTask(TaskRef(TenantId(row[0]), TaskKey(row[1])), row[2], row[3]) for row in rows]


def expire_ended(connection: Connection, now: Moment) -> int:
    """As TaskStore. What has begun anew meanwhile stays."""
    expired = tasks.c.expires_ns <= now.at_least_ns
    due = connection.execute(select(tasks.c.tenant, tasks.c.task_key).where(expired).limit(_EXPIRE_AT_ONCE)).all()
    keys = [{"k_tenant": tenant, "k_task_key": key} for tenant, key in due]
    if keys:
        connection.execute(delete(tasks).where(_OF_TASK, expired), keys)
    return len(keys)


def _find(connection: Connection, ref: TaskRef) -> StoredTask | None:
    row = _READ.first(connection, _keys(ref))
    return _stored(ref, row) if row is not None else None


def _stored(ref: TaskRef, row: Row) -> StoredTask:
    return StoredTask(
        ref=ref,
        agent=row["agent"],
        fingerprint=row["fingerprint"],
        input=row["input"],
        retention_s=row["retention_ns"] / 1e9,
        cancel_when_unwatched=bool(row["cancel_when_unwatched"]),
        request_id=row["request_id"],
        state=row["state"],
        epoch=Epoch(row["epoch"]),
        owner=row["owner"],
        attempt=row["attempt"],
        created_ns=row["created_ns"],
        ended_ns=row["ended_ns"],
        expires_ns=row["expires_ns"],
        may_begin_anew=bool(row["may_begin_anew"]),
        outcome=row["outcome"],
        events=row["story"],
        text=row["text"],
        deaths=row["deaths"],
        commit=row["commit_number"],
    )


def _keys(ref: TaskRef) -> dict[str, Any]:
    return {"k_tenant": ref.tenant, "k_task_key": ref.task_key}
