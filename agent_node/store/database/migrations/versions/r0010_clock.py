"""The store has a clock of its own, and what expires goes by it.

It begins with the wall clock of the node that comes first, so that what nodes of the version before write beside this
one's means about the same. What has ended already is kept for its whole retention once more: that node's wall clock may
be wrong.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Makes the clock, and lets retentions begin again by it."""
    op.create_table(
        "store_clock",
        sa.Column("one", sa.SmallInteger, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
        sa.Column("now_ns", sa.BigInteger, nullable=False),
        sa.Column("moved_by", sa.String(128), nullable=False),
    )
    op.add_column("once", sa.Column("settled_ns", sa.BigInteger))
    now_ns = time.time_ns()
    clock = sa.table("store_clock", sa.column("one"), sa.column("now_ns"), sa.column("moved_by"))
    run = op.get_bind().execute
    run(sa.insert(clock).values(one=1, now_ns=now_ns, moved_by=""))
    now = sa.literal(now_ns, sa.BigInteger)
    tasks = sa.table("tasks", sa.column("retention_ns"), sa.column("expires_ns"))
    run(sa.update(tasks).where(tasks.c.expires_ns.is_not(None)).values(expires_ns=now + tasks.c.retention_ns))
    once = sa.table("once", sa.column("ended_ns"), sa.column("expires_ns"))
    run(
        sa.update(once)
        .where(once.c.expires_ns.is_not(None))
        .values(expires_ns=now + once.c.expires_ns - once.c.ended_ns)
    )
    sessions = sa.table("sessions", sa.column("closed_ns"))
    run(sa.update(sessions).where(sessions.c.closed_ns.is_not(None)).values(closed_ns=now))
