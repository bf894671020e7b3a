"""The compare with the cluster's generation, which every transaction that raises an epoch begins with."""

from sqlalchemy import Connection, select

from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.session_schema import cluster
from agentring.errors import StaleEpoch

_READ = HotStatement(select(cluster.c.generation))


def check_generation(connection: Connection, generation: int) -> None:
    """Raises StaleEpoch where the database has gone on to another generation of the cluster."""
    if _READ.scalar(connection, {}) != generation:
        raise StaleEpoch
