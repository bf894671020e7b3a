"""The durable store of the runs of `ctx.once`, on the database of sessions.py.

Guarantees what OnceStore promises: a change reads the row under a lock, compares the epoch and writes it, all in one
transaction; an ending is one statement that compares epoch, owner and state. A refusal is raised before anything was
written, so that others can share the transaction.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.clock import Moment, StoreClock
from agent_node.store.database.driver import Driver
from agent_node.store.once_records import OPEN, Change, Ending, OnceCaller, OnceOwnership, StoredRun
from agent_node.store.sql.generation import check_generation
from agent_node.store.sql.hot_statement import HotStatement, Row
from agent_node.store.sql.once_schema import once
from agentring.errors import StaleEpoch
from agentring.ids import Epoch, OnceRef, SessionId, SessionRef, TaskKey, TaskRef, TenantId
from agentring.v1 import task_pb2
from agentring.v1.task_pb2 import TASK_STATE_RUNNING

_EXPIRE_AT_ONCE = 500
_WITHOUT_RESULT = [*(column for column in once.c if column is not once.c.result_json), literal("").label("result_json")]

_OF_KEY = (once.c.tenant == bindparam("k_tenant")) & (once.c.once_key == bindparam("k_once_key"))
_OWNED = _OF_KEY & (once.c.epoch == bindparam("k_epoch")) & (once.c.owner == bindparam("k_owner"))
_READ = HotStatement(select(once).where(_OF_KEY))
_READ_LOCKED = HotStatement(select(once).where(_OF_KEY).with_for_update())
_LANDED = HotStatement(select(once.c.state).where(_OWNED))
_INSERTS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ADD = HotStatement(
    {dialect: insert(once).on_conflict_do_nothing() for dialect, insert in _INSERTS.items()},
    [column.name for column in once.columns],
)
_CHANGE = HotStatement(
    update(once)
    .where(_OF_KEY)
    .values({column.name: bindparam(f"new_{column.name}") for column in once.columns if not column.primary_key})
)
_END = HotStatement(
    update(once)
    .where(_OWNED, once.c.state == TASK_STATE_RUNNING)
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("state", "result_json", "error_type", "error_text", "ended_ns", "expires_ns", "settled_ns")
        }
    )
)


class SqlOnceStore:
    """An OnceStore in an SQL database."""

    durable = True

    def __init__(self, driver: Driver, generation: Callable[[], int], clock: StoreClock) -> None:
        """generation: the cluster's, which the database must not have gone beyond."""
        self._driver = driver
        self.clock = clock
        self._generation = generation

    async def change(self, ownership: OnceOwnership, change: Change) -> StoredRun:
        """As OnceStore."""
        now = self.clock.now()
        work = partial(_change, ownership=ownership, change=change, generation=self._generation(), now=now)
        return await self._driver.transact(work, retry=False)

    async def end(self, ownership: OnceOwnership, ending: Ending, keep_s: float | None) -> None:
        """As OnceStore."""
        work = partial(_end, ownership=ownership, ending=ending, keep_s=keep_s, now=self.clock.now())
        await self._driver.transact(work, retry=True)

    async def read(self, ref: OnceRef) -> StoredRun | None:
        """As OnceStore."""
        return await self._driver.read(partial(_read, ref=ref))

    async def list_runs(
        self, tenant: TenantId, prefix: str, after_key: str, state: task_pb2.TaskState.ValueType, limit: int
    ) -> list[StoredRun]:
        """As OnceStore."""
        wanted = [
            once.c.tenant == tenant,
            once.c.once_key > after_key,
            func.substr(once.c.once_key, 1, len(prefix)) == prefix,
        ]
        if state != task_pb2.TASK_STATE_UNSPECIFIED:
            wanted.append(once.c.state == state)
        return await self._select(select(*_WITHOUT_RESULT).where(*wanted).order_by(once.c.once_key).limit(limit))

    async def open_runs(self, after: OnceRef | None, limit: int) -> list[StoredRun]:
        """As OnceStore."""
        name = tuple_(once.c.tenant, once.c.once_key)
        query = select(once).where(once.c.state.in_(OPEN), once.c.expires_ns.is_(None))
        if after is not None:
            query = query.where(name > (after.tenant, after.task_key))
        return await self._select(query.order_by(once.c.tenant, once.c.once_key).limit(limit))

    async def expire_ended(self) -> int:
        """As OnceStore."""
        return await self._driver.transact(partial(_expire, now_ns=self.clock.now().at_least_ns), retry=True)

    async def _select(self, query: Any) -> list[StoredRun]:
        return await self._driver.read(lambda connection: [_run(row) for row in connection.execute(query).mappings()])


def _change(
    connection: Connection, ownership: OnceOwnership, change: Change, generation: int, now: Moment
) -> StoredRun:
    check_generation(connection, generation)
    while True:
        row = _read(connection, ownership.ref, _READ_LOCKED)
        if row is not None and row.epoch >= ownership.epoch:
            raise StaleEpoch
        new = change(row, now)
        if row is not None:
            changed = {f"new_{name}": value for name, value in _values(new).items()}
            _CHANGE.change(connection, _keys(ownership.ref) | changed)
            return new
        if _ADD.change(connection, _values(new)) == 1:
            return new
        # Somebody else has just made it: whose epoch is higher is looked at again.


def _end(connection: Connection, ownership: OnceOwnership, ending: Ending, keep_s: float | None, now: Moment) -> None:
    values = {
        **_keys(ownership.ref),
        "k_epoch": ownership.epoch,
        "k_owner": ownership.owner,
        "new_state": ending.state,
        "new_result_json": ending.result_json,
        "new_error_type": ending.error_type,
        "new_error_text": ending.error_text,
        "new_ended_ns": now.wall_ns,
        "new_expires_ns": None if keep_s is None else now.expiry_ns(keep_s),
        "new_settled_ns": now.about_ns,
    }
    if _END.change(connection, values) == 1:
        return
    if _LANDED.scalar(connection, values) != ending.state:
        raise StaleEpoch


def _expire(connection: Connection, now_ns: int) -> int:
    due = connection.execute(
        select(once.c.tenant, once.c.once_key).where(once.c.expires_ns <= now_ns).limit(_EXPIRE_AT_ONCE)
    ).all()
    for tenant, key in due:
        # Compared again: a key that is run anew meanwhile has no expiry.
        connection.execute(delete(once).where(_is(OnceRef(tenant, key)), once.c.expires_ns <= now_ns))
    return len(due)


def _read(connection: Connection, ref: OnceRef, statement: HotStatement = _READ) -> StoredRun | None:
    row = statement.first(connection, _keys(ref))
    return _run(row) if row is not None else None


def _keys(ref: OnceRef) -> dict[str, Any]:
    return {"k_tenant": ref.tenant, "k_once_key": ref.task_key}


def _is(ref: OnceRef) -> Any:
    return (once.c.tenant == ref.tenant) & (once.c.once_key == ref.task_key)


def _values(run: StoredRun) -> dict[str, Any]:
    caller = run.caller.ref
    return {
        "tenant": run.ref.tenant,
        "once_key": run.ref.task_key,
        "run_id": run.run_id,
        "epoch": run.epoch,
        "owner": run.owner,
        "attempt": run.attempt,
        "idempotent": int(run.idempotent),
        "state": run.state,
        "session_id": caller.session_id if isinstance(caller, SessionRef) else "",
        "turn_id": run.caller.turn_id,
        "task_key": "" if isinstance(caller, SessionRef) else caller.task_key,
        "result_json": run.ending.result_json,
        "error_type": run.ending.error_type,
        "error_text": run.ending.error_text,
        "created_ns": run.created_ns,
        "ended_ns": run.ended_ns,
        "expires_ns": run.expires_ns,
        "settled_ns": run.settled_ns,
        "deaths": run.deaths,
    }


def _run(row: Row) -> StoredRun:
    tenant = TenantId(row["tenant"])
    caller: SessionRef | TaskRef = (
        SessionRef(tenant, SessionId(row["session_id"]))
        if row["session_id"]
        else TaskRef(tenant, TaskKey(row["task_key"]))
    )
    return StoredRun(
        ref=OnceRef(tenant, TaskKey(row["once_key"])),
        run_id=row["run_id"],
        epoch=Epoch(row["epoch"]),
        owner=row["owner"],
        attempt=row["attempt"],
        idempotent=bool(row["idempotent"]),
        caller=OnceCaller(caller, row["turn_id"]),
        ending=Ending(
            task_pb2.TaskState.ValueType(row["state"]), row["result_json"], row["error_type"], row["error_text"]
        ),
        created_ns=row["created_ns"],
        ended_ns=row["ended_ns"],
        expires_ns=row["expires_ns"],
        settled_ns=row["settled_ns"],
        deaths=row["deaths"],
    )
