"""What a graph's messages say to the session: words, tool calls with their results, tokens.

Guarantees: each tool call is shown once, whichever of the graph's updates have it; tokens of one message are counted
once.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from pydantic_core import to_jsonable_python

from agentring.agent import Context, JsonObject
from agentring.usage import Usage


class Transcript:
    """Of one attempt of a turn."""

    def __init__(self, ctx: Context[Any], before: Iterable[BaseMessage]) -> None:
        """before: messages of earlier turns, which are not told again."""
        self._ctx = ctx
        self._known = {each.tool_call_id for each in before if isinstance(each, ToolMessage)}
        self._calls: dict[str, Mapping[str, Any]] = {}
        self._counted: set[str | None] = set()

    def words(self, message: object) -> str:
        """Of a model's message, or a piece of one."""
        return str(message.text) if isinstance(message, AIMessage) else ""

    def used(self, message: object) -> tuple[int, int, int, int] | None:
        """Counts its tokens: what a Usage is made of; None: there are none."""
        if not isinstance(message, AIMessage) or (used := message.usage_metadata) is None:
            return None
        calls = int(message.id not in self._counted)
        self._counted.add(message.id)
        cached = (used.get("input_token_details") or {}).get("cache_read", 0)
        counts = used["input_tokens"], used["output_tokens"], cached, calls
        self._ctx.add_usage(Usage(*counts))
        return counts

    async def show_tools(self, messages: Iterable[BaseMessage]) -> list[JsonObject]:
        """Publishes the tool calls that have come to a result; what `show_tool` is to be given of each later."""
        shown: list[JsonObject] = []
        for message in messages:
            if isinstance(message, AIMessage):
                self._calls.update({str(call["id"]): dict(call) for call in message.tool_calls})
            elif isinstance(message, ToolMessage) and message.tool_call_id not in self._known:
                call = self._calls.get(message.tool_call_id, {"name": message.name or "tool", "args": {}})
                has_failed = message.status == "error"
                shown.append(
                    {
                        "id": message.tool_call_id,
                        "name": call["name"],
                        "arguments": plain(call["args"]),
                        "result": str(message.text) if has_failed else plain(message.content),
                        "has_failed": has_failed,
                    }
                )
                await self.show_tool(shown[-1])
        return shown

    async def show_tool(self, shown: JsonObject) -> None:
        """Publishes a tool call that has come to a result."""
        self._known.add(shown["id"])
        with suppress(ToolFailed):  # which the graph's model is told by the graph
            await self._ctx.tool(shown["name"], _returning(shown), **shown["arguments"])


class ToolFailed(Exception):
    """A tool of the graph's has failed; its model was told."""


def in_update(update: object) -> Iterator[BaseMessage]:
    """The messages of what a node has written."""
    if isinstance(update, BaseMessage):
        yield update
    elif isinstance(update, Mapping):
        for value in update.values():
            yield from in_update(value)
    elif isinstance(update, list | tuple):
        for value in update:
            yield from in_update(value)


def plain(value: object) -> Any:
    """As JSON, what is none by its `repr`."""
    return json.loads(json.dumps(to_jsonable_python(value, fallback=repr), default=repr))


def _returning(shown: JsonObject) -> Callable[..., Awaitable[Any]]:
    async def result(**_: Any) -> Any:
        if shown["has_failed"]:
            raise ToolFailed(shown["result"])
        return shown["result"]

    return result
