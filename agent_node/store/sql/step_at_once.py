"""A step's commit as one statement: on PostgreSQL each statement costs a way to the server and back.

Guarantees what step_transactions.py does for the same write, as session_at_once.py says for turns. None: the compare
failed, or the write is another one than that of a single row of a session's turn. Given to the driver by steps.py.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from agent_node.store.sql.step_schema import steps
from agent_node.store.sql.step_transactions import OWNED_AND_OPEN, columns, open_values
from agent_node.store.step_records import RunOwnership, StoredStep
from agentring.ids import SessionRef


def keep(connection: Connection, run: RunOwnership, commit_id: str, rows: Sequence[StoredStep]) -> int | None:
    """As step_transactions.keep."""
    if len(rows) != 1 or not isinstance(run.ref, SessionRef):
        return None
    values = open_values(run, commit_id) | {f"step_{name}": value for name, value in columns(run, rows[0]).items()}
    commit: int | None = connection.execute(_keeping(), values).scalar()
    return commit


@cache
def _keeping() -> Select[Any]:
    owned = OWNED_AND_OPEN.statement.cte("owned")
    names = sorted(steps.columns.keys())
    row = select(*(bindparam(f"step_{name}", type_=steps.c[name].type) for name in names))
    kept = insert(steps).from_select(names, row.select_from(owned)).on_conflict_do_nothing()
    return select(owned.c.commit_number).add_cte(kept.cte("kept"))
