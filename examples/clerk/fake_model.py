"""A model that says what the example needs, by the messages alone: a call that is made again has the same answer."""

import os
import re
from collections.abc import AsyncIterator, Sequence

from agentring.models import Message, ModelTool, Reply, ToolCall, Usage

CALLS = os.environ.get("EXAMPLE_CALLS", "")
"""A file that gets a line for each call; empty: none does."""


class FakeModel:
    """Looks into the stock, orders two, and says what came of it."""

    name = "fake"

    async def stream(self, messages: Sequence[Message], tools: Sequence[ModelTool] = ()) -> AsyncIterator[str | Reply]:
        """As Model."""
        last_user = max(number for number, message in enumerate(messages) if message["role"] == "user")
        item = messages[last_user]["content"]
        results = [message["content"] for message in messages[last_user:] if message["role"] == "tool"]
        if CALLS:
            with open(CALLS, "a") as calls:  # noqa: ASYNC230  one line
                calls.write(f"model call {len(results) + 1}\n")
        text, call = _answer(item, results)
        for word in re.findall(r"\S+\s*", text):
            yield word
        yield Reply(text, call, Usage(10 * len(messages), len(text.split()), 0, 1))


def _answer(item: str, results: Sequence[str]) -> tuple[str, tuple[ToolCall, ...]]:
    match results:
        case []:
            return "Let me look.", (ToolCall("1", "stock", f'{{"item": "{item}"}}'),)
        case ["0"]:
            return f"There is no {item}.", ()
        case [_]:
            return "", (ToolCall("2", "order", f'{{"item": "{item}", "count": 2}}'),)
    return f"So: {results[-1]}", ()
