"""The SQL store's transactions about steps, one function each, over a connection on which a transaction has begun.

Guarantees: each write begins with the UPDATE of the session's or task's row that compares the run's epoch and that the
run is open, and thereby locks the row until the commit; a refusal (StaleEpoch) is raised before anything was written.
A write that landed, and is tried again, changes nothing: a session's is recognised by its commit_id, and a row that is
there stays as it is, since nobody else writes rows of that life under that epoch. Used by steps.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.session_records import EventRow, Ownership, Publication
from agent_node.store.sql import session_events, session_statements, storage_schema, task_transactions
from agent_node.store.sql.hot_statement import HotStatement, Row
from agent_node.store.sql.session_schema import of_session, turns
from agent_node.store.sql.session_transactions import owned_values, turn_changes
from agent_node.store.sql.step_schema import blobs, events, life_keys, of_life, steps
from agent_node.store.step_records import PAGE_ROWS, BlobChunk, Life, RunOwnership, StepState, StoredStep
from agent_node.store.storage_records import StorageWrite
from agentring.errors import StaleEpoch
from agentring.ids import SessionRef

OWNED_AND_OPEN = HotStatement(
    session_statements.ASSERT_OWNED.statement.where(
        select(turns.c.number)
        .where(of_session(turns), turns.c.turn_id == bindparam("k_turn_id"), turns.c.end_seq.is_(None))
        .exists()
    )
)
_INSERTS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ADD_STEP = HotStatement(
    {dialect: make(steps).on_conflict_do_nothing() for dialect, make in _INSERTS.items()},
    [column.name for column in steps.columns],
)
_ADD_CHUNK = HotStatement(
    {dialect: make(blobs).on_conflict_do_nothing() for dialect, make in _INSERTS.items()},
    [column.name for column in blobs.columns],
)
_ADD_EVENTS = HotStatement(
    {dialect: make(events).on_conflict_do_nothing() for dialect, make in _INSERTS.items()},
    [column.name for column in events.columns],
)
_READ_EVENTS = HotStatement(select(events).where(of_life(events)).order_by(events.c.seq))
_READ = HotStatement(
    select(steps).where(of_life(steps), steps.c.ordinal > bindparam("after")).order_by(steps.c.ordinal).limit(PAGE_ROWS)
)
_READ_CHUNK = HotStatement(
    select(blobs.c.data).where(
        of_life(blobs), blobs.c.digest == bindparam("k_digest"), blobs.c.number == bindparam("k_number")
    )
)
_LAST_GAIN = HotStatement(
    select(steps.c.attempt)
    .where(of_life(steps), steps.c.state != int(StepState.STARTED))
    .order_by(steps.c.ordinal.desc())
    .limit(1)
)


def keep(
    connection: Connection,
    run: RunOwnership,
    commit_id: str,
    rows: Sequence[StoredStep],
    storage: Sequence[StorageWrite] = (),
    publication: Publication | None = None,
) -> int:
    """As StepStore."""
    commit, fresh = _assert_open(connection, run, commit_id, publication.head_seq if publication is not None else None)
    if fresh and rows:
        _ADD_STEP.change_each(connection, [columns(run, row) for row in rows])
    if fresh and publication is not None:
        _keep_published(connection, run, publication)
    if fresh and storage:
        assert run.storage is not None
        # Invariant: nothing is written by key that an earlier owner, or a run that has ended, wanted to write
        # (tests/unit/agent_node/store/test_storage_store.py).
        storage_schema.write(connection, run.storage, storage)
    return commit


def keep_chunk(connection: Connection, run: RunOwnership, commit_id: str, chunk: BlobChunk) -> int:
    """As StepStore."""
    commit, fresh = _assert_open(connection, run, commit_id)
    if fresh:
        values = {
            "tenant": run.ref.tenant,
            "life_id": run.life_id,
            "digest": chunk.digest,
            "number": chunk.number,
            "data": chunk.data,
        }
        _ADD_CHUNK.change(connection, values)
    return commit


def read(connection: Connection, life: Life, after_ordinal: int) -> list[StoredStep]:
    """As StepStore."""
    return [_stored(row) for row in _READ.all(connection, life_keys(life) | {"after": after_ordinal})]


def read_chunk(connection: Connection, life: Life, digest: bytes, number: int) -> bytes | None:
    """As StepStore."""
    data: bytes | None = _READ_CHUNK.scalar(connection, life_keys(life) | {"k_digest": digest, "k_number": number})
    return data


def read_events(connection: Connection, life: Life) -> list[EventRow]:
    """As StepStore."""
    rows = _READ_EVENTS.all(connection, life_keys(life))
    return [EventRow(row["first_seq"], row["seq"], 0, row["events"]) for row in rows]


def last_gain(connection: Connection, life: Life) -> int:
    """As StepStore."""
    return int(_LAST_GAIN.scalar(connection, life_keys(life)) or 0)


def open_values(run: RunOwnership, commit_id: str, head_seq: int | None) -> dict[str, Any]:
    """The parameters of OWNED_AND_OPEN."""
    assert isinstance(run.ref, SessionRef)
    owned = owned_values(Ownership(run.ref, run.epoch, run.owner), commit_id, head_seq)
    return owned | {"k_turn_id": run.turn_id}


def columns(run: RunOwnership, row: StoredStep) -> dict[str, Any]:
    """A row of `steps`."""
    return {
        "tenant": run.ref.tenant,
        "life_id": run.life_id,
        "ordinal": row.ordinal,
        "step_id": row.step_id,
        "outer_ids": row.outer_ids,
        "name": row.name,
        "attempt": row.attempt,
        "state": int(row.state),
        "pure": int(row.pure),
        "value": row.value,
        "blob": row.blob,
        "size_bytes": row.size_bytes,
        "published": row.published.packed() if row.published is not None else None,
    }


def _keep_published(connection: Connection, run: RunOwnership, publication: Publication) -> None:
    if isinstance(run.ref, SessionRef):
        session_events.keep(connection, run.ref, publication.events)
        ownership = Ownership(run.ref, run.epoch, run.owner)
        for turn in publication.renumbered:
            session_statements.UPDATE_TURN.change(connection, turn_changes(ownership, turn, None))
    elif publication.events:
        life = {"tenant": run.ref.tenant, "life_id": run.life_id}
        _ADD_EVENTS.change_each(
            connection,
            [life | {"seq": row.seq, "first_seq": row.first_seq, "events": row.events} for row in publication.events],
        )


def _assert_open(
    connection: Connection, run: RunOwnership, commit_id: str, head_seq: int | None = None
) -> tuple[int, bool]:
    """The number of the transaction, and whether it is new: False, it has landed before."""
    if not isinstance(run.ref, SessionRef):
        return task_transactions.assert_owned(connection, run.ref, run.epoch), True
    values = open_values(run, commit_id, head_seq)
    # Invariant: no step of an epoch lands after a write of a later epoch, none after the end of its run
    # (tests/unit/agent_node/store/test_step_fencing.py).
    if (number := OWNED_AND_OPEN.scalar(connection, values)) is not None:
        return int(number), True
    if (landed := session_statements.LANDED.scalar(connection, values)) is None:
        raise StaleEpoch
    return int(landed), False


def _stored(row: Row) -> StoredStep:
    return StoredStep(
        ordinal=row["ordinal"],
        step_id=row["step_id"],
        outer_ids=row["outer_ids"],
        name=row["name"],
        attempt=row["attempt"],
        state=StepState(row["state"]),
        pure=bool(row["pure"]),
        value=row["value"],
        blob=row["blob"],
        size_bytes=row["size_bytes"],
    )
