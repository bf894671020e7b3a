"""The SDK's session, kept in the state of agentring's: what the model knows of earlier turns.

Guarantees: it is committed with the turn, or not at all; it has no more than the most bytes as JSON, of which the
latest turns are kept, whole, so that no tool call stands there without its result. The turn under way is kept whatever
its size: the SDK goes on with its items.
"""

import json
from typing import Any

from agents.items import TResponseInputItem
from agents.memory import SessionSettings

from agentring.agent import Context

KEY = "openai_agents"
"""Of the state: a list of the SDK's items."""


class StateSession:
    """The SDK's Session protocol on `ctx.state`, for who calls `Runner` by himself.

    result = Runner.run_streamed(clerk, ctx.input_text, session=StateSession(ctx))
    """

    session_settings: SessionSettings | None = None

    def __init__(self, ctx: Context[Any], *, most_bytes: int = 256 << 10) -> None:
        """most_bytes: of all items as JSON."""
        self.session_id = ctx.session_id or ctx.task_key
        self._state = ctx.state
        self._most_bytes = most_bytes

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The latest ones, oldest first; None: all that are kept.

        items = await StateSession(ctx).get_items(limit=20)
        """
        limit = limit if limit is not None or self.session_settings is None else self.session_settings.limit
        items = self._items
        return list(items if limit is None else items[max(0, len(items) - limit) :])

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Appends them, and drops the oldest turns where there are too many bytes. Raises TypeError, ValueError where
        they are no JSON.

        await StateSession(ctx).add_items([{"role": "user", "content": "hello"}])
        """
        kept: list[Any] = [*self._items, *json.loads(json.dumps(items, allow_nan=False))]
        first, left_bytes = 0, _bytes(kept)
        begins = [number for number, item in enumerate(kept) if number and item.get("role") == "user"]
        for begin in begins:
            if left_bytes <= self._most_bytes:
                break
            left_bytes -= _bytes(kept[first:begin])
            first = begin
        self._state[KEY] = kept[first:]

    async def pop_item(self) -> TResponseInputItem | None:
        """Takes the latest one out.

        latest = await StateSession(ctx).pop_item()
        """
        return self._items.pop() if self._items else None

    async def clear_session(self) -> None:
        """Drops all.

        await StateSession(ctx).clear_session()
        """
        self._state.pop(KEY, None)

    @property
    def _items(self) -> list[Any]:
        items: list[Any] = self._state.get(KEY, [])
        return items


def _bytes(items: list[Any]) -> int:
    return len(json.dumps(items, ensure_ascii=False).encode("utf-8", "replace"))
