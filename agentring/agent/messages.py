"""The session's past, as a model wants it: messages with roles, tool calls and their results."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentring.agent.files import Part


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What the user gave a turn.

    >>> UserMessage(position=4, turn_id="t", text="hi", parts=()).role
    'user'
    """

    position: int
    """Grows from message to message; `messages(before=position)` gives earlier ones."""
    turn_id: str
    text: str
    """As `ctx.input_text` was."""
    parts: Sequence[Part]
    """As `ctx.input_parts` was."""
    role: Literal["user"] = "user"


@dataclass(frozen=True, slots=True)
class PastToolCall:
    """A tool that was called; a ToolMessage with the same call_id has what came of it.

    >>> PastToolCall("t.1.1", "look_up", {"city": "Oslo"}).arguments["city"]
    'Oslo'
    """

    call_id: str
    name: str
    arguments: dict[str, Any]
    """JSON; whole numbers are int."""


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the agent said, and the tools that it called then.

    >>> AssistantMessage(position=5, turn_id="t", text="Let me look.", tool_calls=()).role
    'assistant'
    """

    position: int
    turn_id: str
    text: str
    tool_calls: tuple[PastToolCall, ...]
    role: Literal["assistant"] = "assistant"


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """What came of a tool call.

    >>> ToolMessage(position=6, turn_id="t", call_id="t.1.1", name="look_up", result={"degrees": 4}, failed="").role
    'tool'
    """

    position: int
    turn_id: str
    call_id: str
    name: str
    result: Any
    """JSON; whole numbers are int. None where it failed, too."""
    failed: str
    """Why it failed, as TOOL_ERROR; empty: it did not."""
    role: Literal["tool"] = "tool"


Message = UserMessage | AssistantMessage | ToolMessage


class Past(Protocol):
    """The part of Context that looks back."""

    def messages(self, *, limit: int = 50, before: int | None = None) -> AsyncIterator[Message]:
        """The messages of the session's completed turns, the latest `limit` of them, oldest first.

            past = [(each.role, each.text) async for each in ctx.messages(limit=20) if each.role != "tool"]

        Read from the session's events when it is iterated, so it reaches as far back as these are kept (4 MiB), and
        costs nothing where it is not used. before: a message's position: those before it, for going back page by page.
        limit: 1 to 1,000. A turn of which the beginning is no longer kept is left out, and so are files that were put
        out. Empty for a task.

        Iterating raises ValueError, NodeFenced, StoreUnavailable, SessionCorrupt.
        """
