"""The files of sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "session_files",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("is_whole", sa.SmallInteger, nullable=False),
        sa.Column("is_used", sa.SmallInteger, nullable=False),
        sa.Column("touched_ns", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "session_files_unused",
        "session_files",
        ["touched_ns"],
        sqlite_where=sa.text("is_used = 0"),
        postgresql_where=sa.text("is_used = 0"),
    )
    op.create_table(
        "session_file_chunks",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
