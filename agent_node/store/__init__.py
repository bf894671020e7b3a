"""Where sessions are kept: behind one interface (session_store.py), in the node's memory (store/memory/sessions.py) or
in an SQL database (store/sql/sessions.py and what it is made of) that outlives the node."""

from agent_node.store.memory.sessions import MemoryStore
from agent_node.store.memory.tasks import MemoryTaskStore
from agent_node.store.session_records import (
    SEQ_RANGE,
    Acceptance,
    EventExtent,
    EventRow,
    ListedSession,
    OpenSession,
    Ownership,
    Publication,
    SessionFilter,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
    TurnCommit,
)
from agent_node.store.session_store import Store
from agent_node.store.task_records import (
    TASK_ENDED,
    ListedTask,
    OpenTask,
    StoredTask,
    TaskEnd,
    TaskFilter,
    TaskRequest,
)
from agent_node.store.task_store import TaskStore

__all__ = [
    "SEQ_RANGE",
    "TASK_ENDED",
    "Acceptance",
    "EventExtent",
    "EventRow",
    "ListedSession",
    "ListedTask",
    "MemoryStore",
    "MemoryTaskStore",
    "OpenSession",
    "OpenTask",
    "Ownership",
    "Publication",
    "SessionFilter",
    "Store",
    "StoredInput",
    "StoredSession",
    "StoredTask",
    "StoredTurn",
    "TaskEnd",
    "TaskFilter",
    "TaskRequest",
    "TaskStore",
    "ToolStart",
    "Trim",
    "TurnCommit",
]
