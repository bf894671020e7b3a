"""Where sessions are kept: behind one interface (protocol.py), in the node's memory (memory.py) or in an SQL database
(sql.py and what it is made of) that outlives the node."""

from agent_node.store.memory import MemoryStore
from agent_node.store.protocol import Store
from agent_node.store.records import (
    SEQ_RANGE,
    Acceptance,
    Ownership,
    StoredSession,
    StoredTurn,
    ToolStart,
    TurnCommit,
)

__all__ = [
    "SEQ_RANGE",
    "Acceptance",
    "MemoryStore",
    "Ownership",
    "Store",
    "StoredSession",
    "StoredTurn",
    "ToolStart",
    "TurnCommit",
]
