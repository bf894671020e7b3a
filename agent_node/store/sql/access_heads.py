"""The heads of access logs' chains, one row for each process that wrote one. Rows are never removed here: each tells
what was there."""

import time
from typing import Any

from sqlalchemy import Connection, insert, select, update

from agent_node.store.database.driver import Driver
from agent_node.store.sql.access_schema import access_log_heads as heads
from agentring.audit.chain import Head


class AccessHeads:
    """The table."""

    def __init__(self, driver: Driver) -> None:
        """driver: who carries out the transactions."""
        self._driver = driver

    async def keep(self, head: Head) -> None:
        """Keeps it in place of the chain's one before; one that is behind that changes nothing. Raises
        StoreUnavailable."""
        await self._driver.transact(lambda connection: _keep(connection, head), retry=True)

    async def read(self) -> list[Head]:
        """All. Raises StoreUnavailable."""
        return await self._driver.read(read_heads)


def read_heads(connection: Connection) -> list[Head]:
    """All, in the order of their names."""
    rows: Any = connection.execute(select(heads).order_by(heads.c.chain))
    return [Head(row.chain, row.process, row.lines, row.mac, bool(row.ended)) for row in rows]


def _keep(connection: Connection, head: Head) -> None:
    values = {
        "process": head.process,
        "lines": head.lines,
        "mac": head.mac,
        "ended": int(head.ended),
        "kept_ns": time.time_ns(),
    }
    known = connection.execute(select(heads.c.lines).where(heads.c.chain == head.chain)).scalar()
    if known is None:
        connection.execute(insert(heads), {"chain": head.chain, **values})
    else:
        # Invariant: a head never goes back (tests/unit/agent_node/store/sql/test_access_heads.py): a router's may come
        # late, by another node.
        connection.execute(update(heads).where(heads.c.chain == head.chain, heads.c.lines <= head.lines).values(values))
