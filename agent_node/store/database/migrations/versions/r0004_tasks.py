"""Tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "tasks",
        sa.Column("tenant", _key(128), primary_key=True),
        sa.Column("task_key", _key(256), primary_key=True),
        sa.Column("agent", sa.String(256), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("retention_ns", sa.BigInteger, nullable=False),
        sa.Column("cancel_when_unwatched", sa.SmallInteger, nullable=False),
        sa.Column("request_id", sa.String(40), nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("commit_number", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger),
        sa.Column("expires_ns", sa.BigInteger),
        sa.Column("may_begin_anew", sa.SmallInteger, nullable=False),
        sa.Column("outcome", sa.LargeBinary, nullable=False),
        sa.Column("story", sa.LargeBinary, nullable=False),
        sa.Column("text", sa.Text),
    )
    _index("tasks_open", ["tenant", "task_key"], "ended_ns IS NULL")
    _index("tasks_expire", ["expires_ns"], "expires_ns IS NOT NULL")


def _key(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "tasks", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
