"""The table of the store's clock: one row (see shared_clock.py)."""

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, String, Table

from agent_node.store.sql.session_schema import metadata

store_clock = Table(
    "store_clock",
    metadata,
    Column("one", SmallInteger, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    Column("now_ns", BigInteger, nullable=False),
    Column("moved_by", String(128), nullable=False),
)
