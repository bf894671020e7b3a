"""The tables' version is Alembic's alone."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Drops the other one."""
    op.drop_column("cluster", "schema_version")
