"""Where sessions are kept: behind one interface (protocol.py), in the node's memory (memory.py) or in an SQL database
(sql.py and what it is made of) that outlives the node."""

from agent_node.store.memory import MemoryStore
from agent_node.store.protocol import Store
from agent_node.store.records import (
    SEQ_RANGE,
    Acceptance,
    EventExtent,
    EventRow,
    ListedSession,
    OpenSession,
    Ownership,
    SessionFilter,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
    TurnCommit,
)

__all__ = [
    "SEQ_RANGE",
    "Acceptance",
    "EventExtent",
    "EventRow",
    "ListedSession",
    "MemoryStore",
    "OpenSession",
    "Ownership",
    "SessionFilter",
    "Store",
    "StoredInput",
    "StoredSession",
    "StoredTurn",
    "ToolStart",
    "Trim",
    "TurnCommit",
]
