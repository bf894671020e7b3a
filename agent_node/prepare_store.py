"""`python -m agent_node.prepare_store`: makes a store's tables, or brings them up to date, and says which store it is.

For nodes whose role in PostgreSQL may not change tables: this runs with the role of the tables' owner, and gives the
nodes' role what they need. Says which store it is by the line that every process prints once it is ready. Called by
`agentring admin init` and `agentring admin migrate`.
"""

import asyncio
import sys
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field
from sqlalchemy import Connection, text

from agent_node.lifecycle.data_dir import boot_id
from agent_node.store.opening import MEMORY, ClusterIdentity, StoreRefused, check_url, machine_id, open_store
from agentring import settings
from agentring.cluster.etcd.access_control import connected
from agentring.cluster.history import ClusterHistory
from agentring.cluster.keys import Keys
from agentring.process import entry as process
from agentring.settings import ProcessSettings

_RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
_MAY_CHANGE_TABLES = text(
    "SELECT has_schema_privilege(:role, current_schema(), 'CREATE') OR EXISTS (SELECT FROM pg_class "
    "WHERE relnamespace = current_schema()::regnamespace AND pg_has_role(:role, relowner, 'USAGE'))"
)


class StoreSettings(ProcessSettings):
    """Which store, of which cluster."""

    store: Annotated[str, AfterValidator(check_url)] = Field(description="as a node's")
    grant: str = Field("", description="the nodes' role in PostgreSQL")
    store_timeout_s: float = Field(5.0, gt=0, le=60, description="as a node's")


def main() -> None:
    """Runs to its end."""
    store = settings.load(StoreSettings, sys.argv[1:], program="prepare_store")
    process.run(partial(_run, store), program="prepare_store", log_level="error", cannot_start=(StoreRefused,))


async def _run(store: StoreSettings, _stop: asyncio.Event, ready: process.Ready) -> None:
    if store.store == MEMORY:
        raise StoreRefused("sessions in memory have no tables")
    async with connected(store.etcd, store.etcd_tls(), store.etcd_login(), store.etcd_timeout_s) as etcd:
        history = ClusterHistory(etcd, Keys(store.cluster))
        await history.begin()
        identity = ClusterIdentity(history.generation, history.cluster_uuid, machine_id(), boot_id())
    opened = await open_store(store.store, identity, timeout_s=store.store_timeout_s, max_history_turns=1)
    assert opened is not None
    try:
        if store.grant:
            await opened.driver.transact(partial(_grant, role=store.grant), retry=True)
        ready("", uuid=opened.uuid, file=opened.driver.file)
    finally:
        await opened.close()


def _grant(connection: Connection, *, role: str) -> None:
    """What a node needs, and not the tables' version: no node writes it. Raises StoreRefused."""
    if connection.dialect.name != "postgresql":
        raise StoreRefused("--grant is of PostgreSQL's roles: an SQLite file is its owner's")
    if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar() is None:
        raise StoreRefused(f"PostgreSQL has no role {role!r}: make it first, with CREATE ROLE … LOGIN")
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    schema = connection.dialect.identifier_preparer.quote_identifier(
        connection.execute(text("SELECT current_schema()")).scalar_one()
    )
    for statement in (
        f"GRANT USAGE ON SCHEMA {schema} TO {quoted}",
        f"GRANT {_RIGHTS} ON ALL TABLES IN SCHEMA {schema} TO {quoted}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {quoted}",
        # Of tables that a later release brings, too: who forgets --grant then has nodes that still work.
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {_RIGHTS} ON TABLES TO {quoted}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE ON SEQUENCES TO {quoted}",
        f"REVOKE INSERT, UPDATE, DELETE ON {schema}.alembic_version FROM {quoted}",
        f"REVOKE CREATE ON SCHEMA {schema} FROM {quoted}",
    ):
        connection.execute(text(statement))
    if connection.execute(_MAY_CHANGE_TABLES, {"role": role}).scalar_one():
        raise StoreRefused(
            f"the role {role!r} may make or change tables all the same: it is a superuser, or owns them, or everybody "
            f"may (REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC)"
        )


if __name__ == "__main__":
    main()
