"""The SQL store's transactions about sessions that are closed, or are closed unread, over a connection on which one has
begun."""

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, select, update

from agent_node.store.clock import Moment
from agent_node.store.session_records import Ownership
from agent_node.store.sql import file_schema, session_events, session_inputs, storage_schema
from agent_node.store.sql.session_schema import of_session, sessions, states, tool_starts, turns
from agent_node.store.sql.step_schema import blobs, steps
from agent_node.store.storage_records import session_scope
from agentring.errors import StaleEpoch
from agentring.ids import SessionId, SessionRef, TenantId

_EXPIRE_AT_ONCE = 500


def _of_open_turns(table: Table) -> ColumnElement[bool]:
    """Of a session that was closed unread, whose turns did not end."""
    lives = select(turns.c.life_id).where(of_session(turns), turns.c.end_seq.is_(None))
    return (table.c.tenant == bindparam("k_tenant")) & table.c.life_id.in_(lives)


def close_unread(connection: Connection, ownership: Ownership, now: Moment) -> None:
    """Raises the epoch of a session that is there, and closes it, whatever can be read of it. Raises StaleEpoch."""
    closed = connection.execute(
        update(sessions)
        .where(
            sessions.c.tenant == ownership.ref.tenant,
            sessions.c.session_id == ownership.ref.session_id,
            sessions.c.epoch < ownership.epoch,
        )
        .values(epoch=ownership.epoch, owner="", closed_ns=now.at_most_ns, changed_ns=now.wall_ns)
    )
    if closed.rowcount != 1:
        raise StaleEpoch


def expire(connection: Connection, closed_before_ns: int) -> int:
    """Removes some sessions that were closed before then, by the store's clock.

    Nobody writes a closed session, so there is no epoch to compare: an activation that finds it closed gives it up.
    """
    due = connection.execute(
        select(sessions.c.tenant, sessions.c.session_id, sessions.c.created_ns)
        .where(sessions.c.closed_ns < closed_before_ns)
        .limit(_EXPIRE_AT_ONCE)
    ).all()
    keys = [{"k_tenant": tenant, "k_session_id": session_id} for tenant, session_id, _ in due]
    if keys:
        for tenant, session_id, created_ns in due:
            ref = SessionRef(TenantId(tenant), SessionId(session_id))
            storage_schema.forget(connection, session_scope(ref, created_ns))
        for table in (steps, blobs):
            connection.execute(delete(table).where(_of_open_turns(table)), keys)
        file_schema.forget(connection, keys)
        for table in (session_events.table, session_inputs.table, tool_starts, turns, states, sessions):
            connection.execute(delete(table).where(of_session(table)), keys)
    return len(keys)
