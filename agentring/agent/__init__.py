"""All that the author of an agent imports. docs/agents.md is the guide.

Nothing of the server comes with it: no node, no router, no store, no etcd.
"""

from agentring.agent.caller import Caller
from agentring.agent.context import (
    Agent,
    AgentEvent,
    Answer,
    Context,
    JsonObject,
    NobodyToAsk,
    PastTurn,
    Result,
    TurnContext,
)
from agentring.agent.declaration import agent
from agentring.agent.errors import (
    ArgumentProblem,
    OnceFailed,
    OnceTimeout,
    OnceUnknown,
    StepFailed,
    StepUnknown,
    StorageConflict,
    StorageFull,
    ToolArgumentInvalid,
)
from agentring.agent.files import File, FilePart, JsonPart, Part, TextPart
from agentring.agent.messages import AssistantMessage, Message, PastToolCall, ToolMessage, UserMessage
from agentring.agent.output import Log
from agentring.agent.retry import Retry
from agentring.agent.secret import Secret
from agentring.agent.storage import LatestStorage, Storage, StoredKey, StoredValues
from agentring.agent.stream import StepStream
from agentring.agent.tools import Tool, tool
from agentring.errors import AgentringError, FileNotFound, NodeFenced, TaskCycle
from agentring.ids import Epoch, NodeId
from agentring.usage import Usage

__all__ = [
    "Agent",
    "AgentEvent",
    "AgentringError",
    "Answer",
    "ArgumentProblem",
    "AssistantMessage",
    "Caller",
    "Context",
    "Epoch",
    "File",
    "FileNotFound",
    "FilePart",
    "JsonObject",
    "JsonPart",
    "LatestStorage",
    "Log",
    "Message",
    "NobodyToAsk",
    "NodeFenced",
    "NodeId",
    "OnceFailed",
    "OnceTimeout",
    "OnceUnknown",
    "Part",
    "PastToolCall",
    "PastTurn",
    "Result",
    "Retry",
    "Secret",
    "StepFailed",
    "StepStream",
    "StepUnknown",
    "Storage",
    "StorageConflict",
    "StorageFull",
    "StoredKey",
    "StoredValues",
    "TaskCycle",
    "TextPart",
    "Tool",
    "ToolArgumentInvalid",
    "ToolMessage",
    "TurnContext",
    "Usage",
    "UserMessage",
    "agent",
    "tool",
]
