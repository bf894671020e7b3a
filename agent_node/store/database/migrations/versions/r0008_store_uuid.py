"""The store has a name of its own, by which a cluster's nodes find out that they have the same."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Gives it one."""
    op.add_column("cluster", sa.Column("store_uuid", sa.String(64), nullable=False, server_default=""))
    cluster = sa.table("cluster", sa.column("store_uuid"))
    op.get_bind().execute(sa.update(cluster).values(store_uuid=str(uuid.uuid4())))
