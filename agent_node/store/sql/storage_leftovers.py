"""What is left in the table of `ctx.storage` of sessions that are not there any more, and of tasks' runs that have
ended: by nodes of a release that does not know of the table, which run beside this one while a cluster is upgraded.

Guarantees: nothing goes that a session or an open run still has. A scope comes after its session's row, or its run's,
and never comes back, so what was found to be nobody's stays so.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, or_, select

from agent_node.store.sql.session_schema import sessions
from agent_node.store.sql.storage_schema import forget, table
from agent_node.store.sql.task_schema import tasks
from agent_node.store.storage_records import StorageScope, life_of, session_of
from agentring.ids import TenantId

PAGE_SCOPES = 500


def scopes(connection: Connection, after: StorageScope | None) -> Sequence[StorageScope]:
    """At most PAGE_SCOPES of all that have keys, in their order; after: None: from the first."""
    tenant, scope = table.c.tenant, table.c.scope
    query = select(tenant, scope).distinct()
    if after is not None:
        query = query.where(or_(tenant > after.tenant, and_(tenant == after.tenant, scope > after.name)))
    rows = connection.execute(query.order_by(tenant, scope).limit(PAGE_SCOPES))
    return [StorageScope(TenantId(row[0]), row[1]) for row in rows]


def nobodys(connection: Connection, found: Sequence[StorageScope]) -> list[StorageScope]:
    """Those of these that no session and no open run has."""
    return [scope for scope in found if not _is_somebodys(connection, scope)]


def remove(connection: Connection, left: Sequence[StorageScope]) -> None:
    """Removes what is kept in these scopes."""
    for scope in left:
        forget(connection, scope)


def _is_somebodys(connection: Connection, scope: StorageScope) -> bool:
    if (session := session_of(scope)) is not None:
        session_id, created_ns = session
        query = select(sessions.c.epoch).where(
            sessions.c.tenant == scope.tenant,
            sessions.c.session_id == session_id,
            sessions.c.created_ns == created_ns,
        )
    elif (life_id := life_of(scope)) is not None:
        query = select(tasks.c.epoch).where(
            tasks.c.tenant == scope.tenant, tasks.c.request_id == life_id, tasks.c.ended_ns.is_(None)
        )
    else:
        return True  # of a later release
    return connection.execute(query.limit(1)).first() is not None
