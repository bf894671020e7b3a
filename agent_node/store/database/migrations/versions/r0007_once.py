"""The runs of steps that run once."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "once",
        sa.Column("tenant", _key(128), primary_key=True),
        sa.Column("once_key", _key(256), primary_key=True),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("idempotent", sa.SmallInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("turn_id", sa.String(128), nullable=False),
        sa.Column("task_key", sa.String(256), nullable=False),
        sa.Column("result_json", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text, nullable=False),
        sa.Column("error_text", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger),
        sa.Column("expires_ns", sa.BigInteger),
    )
    _index("once_open", ["tenant", "once_key"], "state IN (1, 2) AND expires_ns IS NULL")
    _index("once_expires", ["expires_ns"], "expires_ns IS NOT NULL")


def _key(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "once", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
