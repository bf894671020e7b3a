"""The steps of runs, and what tells a turn's run from another one of its name."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Makes the tables, and adds the column: turns that an earlier release accepted have it empty."""
    op.add_column("turns", sa.Column("life_id", sa.String(32), nullable=False, server_default=""))
    op.create_table(
        "steps",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("life_id", sa.String(32), primary_key=True),
        sa.Column("ordinal", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("step_id", sa.LargeBinary, nullable=False),
        sa.Column("outer_ids", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("pure", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("blob", sa.LargeBinary, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
    )
    op.create_table(
        "step_blobs",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("life_id", sa.String(32), primary_key=True),
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
