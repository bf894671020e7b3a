"""What a model is told of a session's earlier turns: the messages of the latest ones, in the session's state.

Guarantees: they never have more than the most bytes as JSON; whole turns are left out, the oldest first, so that no
tool call stands there without its result; a turn that is too long by itself is kept as what was said, or not at all.
"""

import json
from collections.abc import Sequence
from typing import Any

from agentring.models.messages import Message

KEY = "conversation"
"""Of the state: a list of turns, each a list of messages."""


class Conversation:
    """The conversation of one session."""

    def __init__(self, state: dict[str, Any], most_bytes: int) -> None:
        """state: the session's, where it is kept under `conversation`. most_bytes: as JSON; a token has 4 or so."""
        self._state = state
        self._most_bytes = most_bytes

    @property
    def messages(self) -> list[Message]:
        """Of all turns that are kept, oldest first."""
        return [message for turn in self._state.get(KEY, ()) for message in turn]

    def add(self, turn: Sequence[Message]) -> None:
        """Keeps what a turn has added, a user's message first."""
        turns = [*self._state.get(KEY, ()), list(turn)]
        if _bytes(turns[-1]) > self._most_bytes:
            turns[-1] = [message for message in turn if message["role"] == "user" or _is_said(message)]
        while turns and _bytes(turns) > self._most_bytes:
            del turns[0]
        self._state[KEY] = turns


def _is_said(message: Message) -> bool:
    return message["role"] == "assistant" and bool(message["content"]) and "tool_calls" not in message


def _bytes(messages: Any) -> int:
    return len(json.dumps(messages, ensure_ascii=False).encode("utf-8", "replace"))
