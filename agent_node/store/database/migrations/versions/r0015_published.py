"""How far a run had told when a step of it was committed, and what a task's run had told."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Adds the column and makes the table: what an earlier release committed says nothing of it."""
    op.add_column("steps", sa.Column("published", sa.LargeBinary))
    op.create_table(
        "step_events",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("life_id", sa.String(32), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
    )
