"""A model for tests: it answers what the test has written down."""

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

from agentring.models import Message, ModelTool, Reply, ToolCall, Usage

Scripted: TypeAlias = str | Reply | ToolCall | Sequence[ToolCall] | Exception
"""An answer: its text, all of it, the tools it calls, or why there is none."""


class FakeModel:
    """A Model that answers from a script, one entry for each new request.

        model = FakeModel(ToolCall("1", "look_up_price", '{"item": "tea"}'), "Tea is 3.")
        async with AgentTest(chat_agent(model, tools=[look_up_price])) as t:
            assert (await t.turn("What is tea?")).text == "Tea is 3."
        assert [message["role"] for message in model.requests[-1]] == ["user", "assistant", "tool"]

    The same messages get the same answer however often they come, so an attempt that begins anew, and each run of
    `crash_everywhere`, is answered as the one before. An exception is raised once, and the next try gets the next
    entry: `ModelFailed(..., is_retryable=True)` for one that is tried again. An entry may also be a function of the
    messages. Without an entry left it raises AssertionError.
    """

    name = "fake"

    def __init__(self, *script: Scripted | Callable[[Sequence[Message]], Scripted]) -> None:
        """script: in the order of the requests."""
        self._script = list(script)
        self._answers: dict[str, Reply] = {}
        self._next = 0
        self.requests: list[list[Message]] = []
        """The messages of every call, also of those that were cut off or came again."""
        self.tools: list[tuple[str, ...]] = []
        """The names of the tools that the model was told of, by call."""

    async def stream(self, messages: Sequence[Message], tools: Sequence[ModelTool] = ()) -> AsyncIterator[str | Reply]:
        """As Model: the text comes word by word."""
        plain = json.loads(json.dumps(messages))
        self.requests.append(plain)
        self.tools.append(tuple(tool.name for tool in tools))
        reply = self._answer(plain)
        for piece in re.findall(r"\S+\s*|\s+", reply.text):
            yield piece
        yield reply

    def _answer(self, messages: list[Message]) -> Reply:
        request = json.dumps(messages, sort_keys=True)
        if (known := self._answers.get(request)) is not None:
            return known
        if self._next == len(self._script):
            raise AssertionError(
                f"the script of the fake model has {len(self._script)} entries, and there is one more request, with "
                f"{messages[-1:]!r} last; an attempt that begins anew must ask the model the same"
            )
        entry: Any = self._script[self._next]
        self._next += 1
        found = entry(messages) if callable(entry) else entry
        if isinstance(found, Exception):
            raise found
        reply = self._answers[request] = _reply(found, messages)
        return reply


def _reply(found: Any, messages: Sequence[Message]) -> Reply:
    if isinstance(found, Reply):
        return found
    text, calls = (found, ()) if isinstance(found, str) else ("", (found,) if isinstance(found, ToolCall) else found)
    read = sum(len(str(message.get("content") or "").split()) for message in messages)
    usage = Usage(input_tokens=read, output_tokens=len(text.split()), model_calls=1)
    return Reply(text, tuple(calls), usage, "tool_calls" if calls else "stop")
