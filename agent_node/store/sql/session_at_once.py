"""A new session, and what a turn writes, as one statement each: on PostgreSQL every statement costs a way to the server
and back.

Guarantees what session_transactions.py does for the same writes, since a statement is a transaction: the session's row
is compared, locked and changed first, and all else is taken from its result, so that without it nothing is written.
None: that was so, or the write is larger than most; the usual transaction then does it, or finds out why not. Given to
the driver by sessions.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import CTE, Connection, Select, Table, bindparam, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert

from agent_node.store.session_records import Acceptance, EventRow, Ownership, StoredSession, StoredTurn
from agent_node.store.sql import session_events
from agent_node.store.sql import session_statements as statements
from agent_node.store.sql import session_transactions as transactions
from agent_node.store.sql.session_reads import read_turn
from agent_node.store.sql.session_schema import sessions, states, turns


def activate(
    connection: Connection, ownership: Ownership, agent: str, *, generation: int, seq_range: int
) -> StoredSession | None:
    """As session_transactions.raise_and_read, of a session that is not there yet. One that is must be read once its
    epoch is raised: the statement that raises it misses what others were committing meanwhile."""
    values = transactions.raised_values(ownership, agent, generation, seq_range)
    added = connection.execute(_making(), values).first()
    return transactions.new_session(ownership, values) if added is not None else None


def accept_turn(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    turn: StoredTurn,
    head_seq: int | None,
    events: Sequence[EventRow] = (),
) -> Acceptance | None:
    """As session_transactions.accept_turn."""
    if len(events) > 1:
        return None
    row = connection.execute(
        _accepting(with_events=bool(events)),
        {
            **transactions.owned_values(ownership, commit_id, head_seq),
            **_named(turns, transactions.turn_columns(ownership, turn)),
            **_event_values(ownership, events),
        },
    ).first()
    if row is None:
        return None
    commit, added = row
    return Acceptance(commit, None if added else read_turn(connection, ownership.ref, turn.turn_id))


def update_turns(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    head_seq: int | None,
    turns: Sequence[StoredTurn],
    events: Sequence[EventRow] = (),
    *,
    completed: StoredTurn | None = None,
    output_text: str | None = None,
    state_json: str | None = None,
) -> int | None:
    """As session_transactions.update_turns."""
    if len(turns) != 1 or len(events) > 1:
        return None
    (turn,) = turns
    if turn.may_have_steps:
        return None
    values = {
        **transactions.owned_values(ownership, commit_id, head_seq, completed=int(completed is not None)),
        **transactions.turn_changes(ownership, turn, output_text if turn is completed else None),
        **_event_values(ownership, events),
    }
    if state_json is not None:
        values |= _named(states, transactions.state_columns(ownership, state_json))
    statement = _updating(with_events=bool(events), with_state=state_json is not None)
    commit: int | None = connection.execute(statement, values).scalar()
    return commit


@cache
def _making() -> ReturningInsert[Any]:
    adding: Insert = statements.adding_session(insert)
    return adding.on_conflict_do_nothing(index_elements=[sessions.c.tenant, sessions.c.session_id]).returning(
        sessions.c.commit_number
    )


@cache
def _accepting(*, with_events: bool) -> Select[Any]:
    owned = statements.ASSERT_OWNED.statement.cte("owned")
    adding = _from(owned, turns, set(turns.columns.keys()) - {"end_seq", "output_text"})
    added = (
        adding.on_conflict_do_nothing(index_elements=[turns.c.tenant, turns.c.session_id, turns.c.turn_id])
        .returning(turns.c.number)
        .cte("added")
    )
    found = select(owned.c.commit_number, select(added.c.number).exists())
    return found.add_cte(_keeping_events(owned)) if with_events else found


@cache
def _updating(*, with_events: bool, with_state: bool) -> Select[Any]:
    owned = statements.ASSERT_OWNED.statement.cte("owned")
    turn = statements.UPDATE_TURN.statement.where(select(owned.c.commit_number).exists()).cte("turn")
    found = select(owned.c.commit_number).add_cte(turn)
    if with_events:
        found = found.add_cte(_keeping_events(owned))
    if with_state:
        keeping = _from(owned, states, states.columns.keys())
        kept = keeping.on_conflict_do_update(
            index_elements=[states.c.tenant, states.c.session_id],
            set_={name: keeping.excluded[name] for name in ("state_json", "checksum")},
        )
        found = found.add_cte(kept.cte("state"))
    return found


def _keeping_events(owned: CTE) -> CTE:
    return _from(owned, session_events.table, session_events.table.columns.keys()).cte("kept")


def _from(owned: CTE, table: Table, columns: Iterable[str]) -> Insert:
    """Adds a row, whose columns are the parameters of `_named`, if there is one in the other."""
    names = sorted(columns)
    row = select(*(bindparam(f"{table.name}_{name}", type_=table.c[name].type) for name in names))
    return insert(table).from_select(names, row.select_from(owned))


def _named(table: Table, columns: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{table.name}_{name}": value for name, value in columns.items()}


def _event_values(ownership: Ownership, events: Sequence[EventRow]) -> dict[str, Any]:
    return _named(session_events.table, session_events.columns(ownership.ref, events[0])) if events else {}
