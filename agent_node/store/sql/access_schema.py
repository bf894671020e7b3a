"""The tables of access logs' heads (access_heads.py) and of the store's own secrets."""

from sqlalchemy import BigInteger, Column, LargeBinary, SmallInteger, String, Table

from agent_node.store.sql.session_schema import metadata

access_log_heads = Table(
    "access_log_heads",
    metadata,
    Column("chain", String(32), primary_key=True),
    Column("process", String(256), nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("mac", String(64), nullable=False),
    Column("ended", SmallInteger, nullable=False),
    Column("kept_ns", BigInteger, nullable=False),
)

store_secrets = Table(
    "store_secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

PAGE_TOKENS = "page_tokens"
"""The secret by which the cluster's nodes know the page tokens that one of them made."""
