"""How many bytes the database has of a tenant: the content of its sessions, turns, events, tasks, steps and files.

Reads alone, a table at a time; what keys, numbers and indexes take is not in it.
"""

from functools import partial

from sqlalchemy import BigInteger, ColumnElement, Connection, LargeBinary, Table, Text, cast, func, select

from agent_node.store.database.driver import Driver
from agent_node.store.sql.session_schema import metadata
from agent_node.store.sql.text_column import NulSafeText
from agentring.ids import TenantId


class SqlStoredBytes:
    """Counts them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def of(self, tenant: TenantId) -> int:
        """As of now, while others go on writing. Raises StoreUnavailable."""
        size_bytes = 0
        for table in metadata.tables.values():
            if "tenant" in table.c:
                size_bytes += await self._driver.read(partial(_size, table=table, tenant=tenant))
        return size_bytes


def _size(connection: Connection, *, table: Table, tenant: TenantId) -> int:
    is_sqlite = connection.dialect.name == "sqlite"
    sizes = [
        func.coalesce(func.sum(_octets(column, is_sqlite=is_sqlite)), 0)
        for column in table.c
        if isinstance(column.type, (LargeBinary, NulSafeText, Text))
    ]
    if not sizes:
        return 0
    return sum(int(size) for size in connection.execute(select(*sizes).where(table.c.tenant == tenant)).one())


def _octets(column: ColumnElement[bytes] | ColumnElement[str], *, is_sqlite: bool) -> ColumnElement[int]:
    if not is_sqlite:
        return func.octet_length(column, type_=BigInteger)
    if isinstance(column.type, LargeBinary):
        return func.length(column, type_=BigInteger)  # SQLite reads no content for it
    return func.length(cast(column, LargeBinary), type_=BigInteger)
