"""The heads of access logs' chains, and a secret of the store's own, by which nodes know the page tokens they made."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Makes the tables, and the secret."""
    op.create_table(
        "access_log_heads",
        sa.Column("chain", sa.String(32), primary_key=True),
        sa.Column("process", sa.String(256), nullable=False),
        sa.Column("lines", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.Column("ended", sa.SmallInteger, nullable=False),
        sa.Column("kept_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "store_secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    kept = sa.table("store_secrets", sa.column("name"), sa.column("value"))
    op.get_bind().execute(sa.insert(kept).values(name="page_tokens", value=secrets.token_bytes(32)))
