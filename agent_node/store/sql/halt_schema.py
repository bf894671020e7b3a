"""The table of halts: one row a scope, whose record is a HaltRecord of halt.proto."""

from sqlalchemy import Column, LargeBinary, SmallInteger, String, Table

from agent_node.store.sql.session_schema import metadata

halts = Table(
    "halts",
    metadata,
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("tenant", String(128), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("halt_id", String(64), nullable=False),
    Column("record", LargeBinary, nullable=False),
)
