"""The conversation in the state of agentring's session: what the model knows of earlier turns.

Guarantees: it is committed with the turn, or not at all; it has no more than the most bytes as JSON, of which the
latest turns are kept, whole, so that no tool call stands there without its result.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic_ai import ModelMessage, ModelMessagesTypeAdapter

from agentring.agent import Context

KEY = "pydantic_ai"
"""Of the state: a list of turns, each a list of messages as ModelMessagesTypeAdapter writes them."""


class StateHistory:
    """The message history, for who calls `Agent.run` by himself.

    history = StateHistory(ctx)
    result = await clerk.run(ctx.input_text, message_history=history.messages())
    history.add(result.new_messages())
    """

    def __init__(self, ctx: Context[Any], *, most_bytes: int = 256 << 10) -> None:
        """most_bytes: of all turns as JSON."""
        self._ctx = ctx
        self._most_bytes = most_bytes

    def messages(self) -> list[ModelMessage]:
        """All that are kept, oldest first. Raises pydantic's ValidationError where they are none.

        result = await clerk.run("tea", message_history=StateHistory(ctx).messages())
        """
        return ModelMessagesTypeAdapter.validate_python([message for turn in self._turns for message in turn])

    def add(self, turn: Sequence[ModelMessage], *, at: datetime | None = None) -> None:
        """Appends the messages of one turn, and drops the oldest turns where there are too many bytes, this one, too,
        where it alone has, of which the log has a line.

            history.add(result.new_messages(), at=await ctx.now())

        at: when the turn was, in the place of all times in the messages, of which a later attempt would have others.
        """
        messages = [
            _trimmed(message, at) | {"parts": [_trimmed(part, at) for part in message["parts"]]}
            for message in ModelMessagesTypeAdapter.dump_python(list(turn), mode="json")
        ]
        turns: list[Any] = [*self._turns, messages]
        sizes = [len(json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace")) for kept in turns]
        while turns and sum(sizes) > self._most_bytes:
            del turns[0], sizes[0]
        if not turns:
            self._ctx.log.warning("conversation forgotten: the turn is larger than history_bytes")
        self._ctx.state[KEY] = turns

    @property
    def _turns(self) -> list[Any]:
        turns: list[Any] = self._ctx.state.get(KEY, [])
        return turns


def _trimmed(part: dict[str, Any], at: datetime | None) -> dict[str, Any]:
    """Without what is not there, which is most of a message, and with the time."""
    kept = {name: value for name, value in part.items() if value is not None or name == "content"}
    return kept | {"timestamp": at.isoformat()} if at is not None and "timestamp" in kept else kept
