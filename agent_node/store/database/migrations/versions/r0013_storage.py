"""Bytes by key of sessions and tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "storage",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("scope", sa.String(192), primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("checksum", sa.String(16), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
