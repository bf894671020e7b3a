"""Questions that agents ask, and their answers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "inputs",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("input_id", sa.String(160), primary_key=True),
        sa.Column("turn_id", sa.String(128), nullable=False),
        sa.Column("waits", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.LargeBinary),
    )
