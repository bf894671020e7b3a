"""A step's commit as one statement: on PostgreSQL each statement costs a way to the server and back.

Guarantees what step_transactions.py does for the same write, as session_at_once.py says for turns. None: the compare
failed, or the write is another one than that of a single row of a session's turn. Given to the driver by steps.py.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from agent_node.store.session_records import Publication
from agent_node.store.sql import session_events
from agent_node.store.sql.step_schema import steps
from agent_node.store.sql.step_transactions import OWNED_AND_OPEN, columns, open_values
from agent_node.store.step_records import RunOwnership, StoredStep
from agentring.ids import SessionRef


def keep(
    connection: Connection,
    run: RunOwnership,
    commit_id: str,
    rows: Sequence[StoredStep],
    publication: Publication | None = None,
) -> int | None:
    """As step_transactions.keep."""
    publication = publication or Publication(None)
    if len(rows) != 1 or not isinstance(run.ref, SessionRef) or len(publication.events) > 1 or publication.renumbered:
        return None
    values = open_values(run, commit_id, publication.head_seq) | _named(steps, columns(run, rows[0]))
    for row in publication.events:
        values |= _named(session_events.table, session_events.columns(run.ref, row))
    commit: int | None = connection.execute(_keeping(with_events=bool(publication.events)), values).scalar()
    return commit


@cache
def _keeping(*, with_events: bool) -> Select[Any]:
    owned = OWNED_AND_OPEN.statement.cte("owned")
    found = select(owned.c.commit_number)
    for table in (steps, session_events.table) if with_events else (steps,):
        names = sorted(table.columns.keys())
        row = select(*(bindparam(f"{table.name}_{name}", type_=table.c[name].type) for name in names))
        kept = insert(table).from_select(names, row.select_from(owned)).on_conflict_do_nothing()
        found = found.add_cte(kept.cte(f"kept_{table.name}"))
    return found


def _named(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{table.name}_{name}": value for name, value in values.items()}
