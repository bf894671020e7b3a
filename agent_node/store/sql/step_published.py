"""How far runs had told when their steps were committed, read from the SQL store."""

from sqlalchemy import Connection, select

from agent_node.store.published import Published
from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.step_schema import life_keys, of_life, steps
from agent_node.store.step_records import Life

_READ = HotStatement(
    select(steps.c.published).where(of_life(steps), steps.c.published.is_not(None)).order_by(steps.c.ordinal)
)


def read(connection: Connection, life: Life) -> list[Published]:
    """As StepStore.read_published."""
    return [Published.unpacked(row["published"]) for row in _READ.all(connection, life_keys(life))]
