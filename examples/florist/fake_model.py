"""A chat model of LangChain that says what the example needs, by the messages alone."""

import os
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

CALLS = os.environ.get("EXAMPLE_CALLS", "")
"""A file that gets a line for each call; empty: none does."""


class FakeModel(BaseChatModel):
    """Looks into the stock, orders a dozen, and says what came of it."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "FakeModel":
        """It knows the example's."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(_answer(messages)[0]))])

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        text, call = _answer(messages)
        if CALLS:
            with open(CALLS, "a") as calls:  # noqa: ASYNC230  one line
                calls.write(f"model call {_results(messages) + 1}\n")
        for word in re.findall(r"\S+\s*", text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        used = {"input_tokens": 10 * len(messages), "output_tokens": len(text.split())}
        last: Any = {**used, "total_tokens": sum(used.values())}
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=call, usage_metadata=last))


def _results(messages: Sequence[BaseMessage]) -> int:
    """How many tools have answered since the user's last words."""
    number = 0
    for message in messages:
        number = 0 if isinstance(message, HumanMessage) else number + isinstance(message, ToolMessage)
    return number


def _answer(messages: Sequence[BaseMessage]) -> tuple[str, Any]:
    flower = next(str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage))
    last = str(messages[-1].text)
    match _results(messages):
        case 0:
            return "Let me look. ", [_call(messages, "stock", f'{{"flower": "{flower}"}}')]
        case 1 if last == "0":
            return f"There are no {flower}.", []
        case 1:
            return "", [_call(messages, "order", f'{{"flower": "{flower}", "count": 12}}')]
    return f"So: {last}", []


def _call(messages: Sequence[BaseMessage], name: str, args: str) -> Any:
    return tool_call_chunk(name=name, args=args, id=f"call-{len(messages)}", index=0)
