"""The tables of steps in the SQL store, the same on SQLite and PostgreSQL.

Rows are only added, and go all together when their run has ended: `steps` in the order of the commits, `step_blobs`
what is too large for a row, under the hash of its content, `step_events` what was told of tasks (a session's events are
its own). Blobs are a run's own, so none is shared by two, and none need be looked for when a run ends.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    bindparam,
    delete,
)

from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.session_schema import metadata
from agent_node.store.sql.text_column import NulSafeText
from agent_node.store.step_records import Life

steps = Table(
    "steps",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("life_id", String(32), primary_key=True),
    Column("ordinal", BigInteger, primary_key=True, autoincrement=False),
    Column("step_id", LargeBinary, nullable=False),
    Column("outer_ids", LargeBinary, nullable=False),
    Column("name", NulSafeText, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("pure", SmallInteger, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("published", LargeBinary),
)
blobs = Table(
    "step_blobs",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("life_id", String(32), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

events = Table(
    "step_events",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("life_id", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
)
"""What was told of tasks' runs when their steps were committed."""


def of_life(table: Any) -> Any:
    """Picks the rows of one life."""
    return (table.c.tenant == bindparam("k_tenant")) & (table.c.life_id == bindparam("k_life_id"))


def life_keys(life: Life) -> dict[str, Any]:
    """The parameters of `of_life`."""
    return {"k_tenant": life.tenant, "k_life_id": life.life_id}


_FORGET = tuple(HotStatement(delete(table).where(of_life(table))) for table in (steps, blobs, events))


def forget(connection: Connection, life: Life) -> None:
    """Removes what is kept of a run. The transaction has locked its session's or task's row, and ends it."""
    for statement in _FORGET:
        statement.change(connection, life_keys(life))
