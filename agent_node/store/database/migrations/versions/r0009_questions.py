"""A question is kept with its words, so that it can be read by who was not there when it was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds the column; what an earlier release asked stands in it as NULL."""
    op.add_column("inputs", sa.Column("question", sa.LargeBinary))
