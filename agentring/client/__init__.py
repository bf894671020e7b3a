"""The client: sessions and tasks of a ring, from an asyncio program. For others there is agentring.client.sync.

    async with connect("127.0.0.1:7700") as ring:
        session = ring.session("ada", agent="assistant")
        async for event in session.send("my name is Ada"):
            ...

Read it downward: ring.py, session.py and tasks.py, turn_stream.py, streams.py (one stream over many calls), progress.py
(what comes twice), retry.py (how long to try).
"""

import warnings
from typing import TYPE_CHECKING

from agentring.client.converse import Attached
from agentring.client.errors import (
    ClientError,
    ForkedProcess,
    RingClosed,
    RingUnreachable,
    RunCancelled,
    RunFailed,
    UnknownFailure,
)
from agentring.client.events import (
    AttemptRestarted,
    CustomEvent,
    Event,
    FileOutput,
    Gap,
    InputRequired,
    Question,
    StateChanged,
    StepBegun,
    StepEnded,
    TextDelta,
    ToolCall,
    ToolResult,
    TurnAccepted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    UnknownEvent,
)
from agentring.client.inputs import File, FilePart, Input, JsonPart, TextPart
from agentring.client.retry import RetryPolicy
from agentring.client.ring import Ring, connect
from agentring.client.routers import Tls
from agentring.client.session import OnBusy, Session, SubmittedTurn, Turn, TurnState
from agentring.client.session_info import OpenStep, SessionInfo
from agentring.client.streams import EventStream
from agentring.client.tasks import Disposition, OnDuplicate, Task, TaskInfo, TaskOutcome, TaskState, TaskWatch
from agentring.client.turn_stream import Outcome
from agentring.errors import AgentringError
from agentring.usage import Usage

__all__ = [
    "AgentringError",
    "Attached",
    "AttemptRestarted",
    "ClientError",
    "CustomEvent",
    "Disposition",
    "Event",
    "EventStream",
    "File",
    "FileOutput",
    "FilePart",
    "ForkedProcess",
    "Gap",
    "Input",
    "InputRequired",
    "JsonPart",
    "OnBusy",
    "OnDuplicate",
    "OpenStep",
    "Outcome",
    "Question",
    "RetryPolicy",
    "Ring",
    "RingClosed",
    "RingUnreachable",
    "RunCancelled",
    "RunFailed",
    "Session",
    "SessionInfo",
    "StateChanged",
    "StepBegun",
    "StepEnded",
    "SubmittedTurn",
    "Task",
    "TaskInfo",
    "TaskOutcome",
    "TaskState",
    "TaskWatch",
    "TextDelta",
    "TextPart",
    "Tls",
    "ToolCall",
    "ToolResult",
    "Turn",
    "TurnAccepted",
    "TurnCancelled",
    "TurnCompleted",
    "TurnFailed",
    "TurnStarted",
    "TurnState",
    "UnknownEvent",
    "UnknownFailure",
    "Usage",
    "connect",
]

if TYPE_CHECKING:
    Policy = RetryPolicy
else:

    def __getattr__(name: str) -> object:
        """`Policy`, the former name of RetryPolicy, for one release."""
        if name == "Policy":
            warnings.warn("agentring.client.Policy is RetryPolicy now", DeprecationWarning, stacklevel=2)
            return RetryPolicy
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
