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
from agent_node.store.task_memory import MemoryTaskStore
from agent_node.store.task_protocol import TaskStore
from agent_node.store.task_records import (
    TASK_ENDED,
    ListedTask,
    OpenTask,
    StoredTask,
    TaskEnd,
    TaskFilter,
    TaskRequest,
)

__all__ = [
    "SEQ_RANGE",
    "TASK_ENDED",
    "Acceptance",
    "ListedTask",
    "MemoryStore",
    "MemoryTaskStore",
    "OpenTask",
    "Ownership",
    "Store",
    "StoredSession",
    "StoredTask",
    "StoredTurn",
    "TaskEnd",
    "TaskFilter",
    "TaskRequest",
    "TaskStore",
    "ToolStart",
    "TurnCommit",
]
