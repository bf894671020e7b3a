"""How many runs of a turn, a task and a step ended with their node."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds the columns."""
    for table in ("turns", "tasks", "once"):
        op.add_column(table, sa.Column("deaths", sa.SmallInteger, nullable=False, server_default="0"))
