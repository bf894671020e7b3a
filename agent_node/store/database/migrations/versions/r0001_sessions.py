"""Sessions, their states, their turns and the starts of their tools."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "cluster",
        sa.Column("one", sa.SmallInteger, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
        sa.Column("schema_version", sa.SmallInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("cluster_uuid", sa.String(64), nullable=False),
        sa.Column("machine_id", sa.String(64), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("agent", sa.String(256), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("was_released", sa.SmallInteger, nullable=False),
        sa.Column("commit_id", sa.String(40), nullable=False),
        sa.Column("commit_number", sa.BigInteger, nullable=False),
        sa.Column("reserved_seq", sa.BigInteger, nullable=False),
        sa.Column("head_seq", sa.BigInteger, nullable=False),
        sa.Column("turns_completed", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("changed_ns", sa.BigInteger, nullable=False),
        sa.Column("closed_ns", sa.BigInteger),
    )
    _index("sessions_closed", "sessions", ["closed_ns"], "closed_ns IS NOT NULL")
    op.create_table(
        "states",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("state_json", sa.Text, nullable=False),
    )
    op.create_table(
        "turns",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("turn_id", sa.String(128), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("accepted_seq", sa.BigInteger, nullable=False),
        sa.Column("end_seq", sa.BigInteger),
        sa.Column("outcome", sa.LargeBinary, nullable=False),
        sa.Column("output_text", sa.Text),
        sa.UniqueConstraint("tenant", "session_id", "number"),
    )
    _index("turns_open", "turns", ["tenant", "session_id", "number"], "end_seq IS NULL")
    op.create_table(
        "tool_starts",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("commit_number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("turn_id", sa.String(128), nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("call_id", sa.String(192), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
    )


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
