"""Halts in an SQL database."""

from collections.abc import Sequence
from functools import partial

import structlog
from google.protobuf.message import DecodeError
from sqlalchemy import ColumnElement, Connection, and_, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.database.driver import Driver
from agent_node.store.sql.halt_schema import halts
from agentring.cluster.halts import Halt, HaltScope, of_record
from agentring.errors import AgentringError
from agentring.v1.halt_pb2 import HaltRecord

_log = structlog.get_logger()


class SqlHaltStore:
    """A HaltStore in an SQL database."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def read(self) -> Sequence[Halt]:
        """As HaltStore."""
        return await self._driver.read(_read)

    async def keep(self, halt: Halt) -> None:
        """As HaltStore."""
        if await self._driver.read(partial(_id_of, scope=halt.scope)) != halt.halt_id:
            await self._driver.transact(partial(_keep, halt=halt), retry=True)

    async def remove(self, scope: HaltScope) -> None:
        """As HaltStore."""
        if await self._driver.read(partial(_id_of, scope=scope)) is not None:
            await self._driver.transact(partial(_remove, scope=scope), retry=True)


def _of(scope: HaltScope) -> ColumnElement[bool]:
    return and_(halts.c.kind == scope.kind, halts.c.tenant == scope.tenant, halts.c.name == scope.name)


def _id_of(connection: Connection, scope: HaltScope) -> str | None:
    return connection.execute(select(halts.c.halt_id).where(_of(scope))).scalar_one_or_none()


def _read(connection: Connection) -> list[Halt]:
    found = []
    for record in connection.execute(select(halts.c.record)).scalars():
        try:
            found.append(of_record(HaltRecord.FromString(record)))
        except (DecodeError, AgentringError) as error:
            _log.error("halt_record_odd", problem=type(error).__name__)
    return found


def _keep(connection: Connection, halt: Halt) -> None:
    scope, record = halt.scope, halt.to_record().SerializeToString()
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    key = {"kind": scope.kind, "tenant": scope.tenant, "name": scope.name}
    row = insert(halts).values(**key, halt_id=halt.halt_id, record=record)
    # All nodes are told of a halt at the same moment, and each writes it.
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[halts.c.kind, halts.c.tenant, halts.c.name],
            set_={"halt_id": row.excluded.halt_id, "record": row.excluded.record},
        )
    )


def _remove(connection: Connection, scope: HaltScope) -> None:
    connection.execute(delete(halts).where(_of(scope)))
