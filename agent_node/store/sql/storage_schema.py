"""The table of `ctx.storage` in the SQL store, the same on SQLite and PostgreSQL, and what is read and written of it.

Guarantees: a value is written by transactions that have compared the owner (step_transactions.py), and goes with its
session's row or its task's end. Keys are bytes, so their order is the same everywhere. `size_bytes` stands before the
value: the keys of a scope are listed without reading what is large.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Integer, LargeBinary, String, Table, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.session_schema import metadata
from agent_node.store.storage_records import (
    PAGE_KEYS,
    StorageEntry,
    StorageScope,
    StorageValue,
    StorageWrite,
    checksum_of,
)

table = Table(
    "storage",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("scope", String(192), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("checksum", String(16), nullable=False),
    Column("value", LargeBinary, nullable=False),
)

_OF_SCOPE = (table.c.tenant == bindparam("k_tenant")) & (table.c.scope == bindparam("k_scope"))
_OF_KEY = _OF_SCOPE & (table.c.key == bindparam("k_key"))
_READ = HotStatement(select(table.c.value, table.c.checksum).where(_OF_KEY))
_KEYS = HotStatement(
    select(table.c.key, table.c.size_bytes)
    .where(_OF_SCOPE, table.c.key > bindparam("after"))
    .order_by(table.c.key)
    .limit(PAGE_KEYS)
)
_DELETE = HotStatement(delete(table).where(_OF_KEY))
_FORGET = HotStatement(delete(table).where(_OF_SCOPE))


def _putting(insert: Callable[..., Any]) -> Any:
    upsert = insert(table)
    return upsert.on_conflict_do_update(
        index_elements=[table.c.tenant, table.c.scope, table.c.key],
        set_={name: upsert.excluded[name] for name in ("size_bytes", "checksum", "value")},
    )


_INSERTS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_PUT = HotStatement(
    {dialect: _putting(insert) for dialect, insert in _INSERTS.items()}, [column.name for column in table.columns]
)


def write(connection: Connection, scope: StorageScope, writes: Sequence[StorageWrite]) -> None:
    """Writes all of these, in their order. The transaction has compared the owner, and has locked its row."""
    for each in writes:
        if each.value is None:
            _DELETE.change(connection, _keys(scope) | {"k_key": each.key})
        else:
            values = {
                "tenant": scope.tenant,
                "scope": scope.name,
                "key": each.key,
                "size_bytes": len(each.value),
                "checksum": checksum_of(each.value),
                "value": each.value,
            }
            _PUT.change(connection, values)


def read(connection: Connection, scope: StorageScope, key: bytes) -> StorageValue | None:
    """As StorageStore."""
    row = _READ.first(connection, _keys(scope) | {"k_key": key})
    return StorageValue(row["value"], row["checksum"]) if row is not None else None


def keys(connection: Connection, scope: StorageScope, after: bytes) -> list[StorageEntry]:
    """As StorageStore."""
    rows = _KEYS.all(connection, _keys(scope) | {"after": after})
    return [StorageEntry(row["key"], row["size_bytes"]) for row in rows]


def forget(connection: Connection, scope: StorageScope) -> None:
    """Removes what is kept of a session or task. The transaction has locked its row, and ends or removes it."""
    _FORGET.change(connection, _keys(scope))


def _keys(scope: StorageScope) -> dict[str, Any]:
    return {"k_tenant": scope.tenant, "k_scope": scope.name}
