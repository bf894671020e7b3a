"""A model of the OpenAI Agents SDK that answers by what it hears, so that a call which is made again has the same
answer."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from agents import Model, ModelResponse, Usage
from agents.items import TResponseOutputItem, TResponseStreamEvent
from agents.testing import assistant_message
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputItemDoneEvent,
    ResponseTextDeltaEvent,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

Answer = Callable[[str | None, list[Any]], Sequence[str | TResponseOutputItem]]
"""What the model says: words, and items, of the instructions and the items that it hears."""


class SdkModel(Model):
    """Answers by a function."""

    def __init__(self, answer: Answer, *, items_apart: bool = False, streams: bool = True) -> None:
        """items_apart: as providers do whose whole answer has no items; streams: whether it is only to be streamed."""
        self._answer = answer
        self._streams = streams
        self._items_apart = items_apart
        self.calls: list[list[Any]] = []
        """What it has heard, call by call."""

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        assert not self._streams, "agents are streamed"
        answers: list[Any] = [event async for event in self.stream_response(*args, **kwargs) if _is_whole(event)]
        return ModelResponse(answers[0].response.output, Usage(), None)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        heard = [{"role": "user", "content": input}] if isinstance(input, str) else list(input)
        self.calls.append(heard)
        output: list[TResponseOutputItem] = []
        number = 0
        for said in self._answer(system_instructions, heard):
            if isinstance(said, str):
                for word in re.findall(r"\S+\s*", said):
                    number += 1
                    yield ResponseTextDeltaEvent(
                        content_index=0,
                        delta=word,
                        item_id="m",
                        logprobs=[],
                        output_index=0,
                        sequence_number=number,
                        type="response.output_text.delta",
                    )
            output.append(assistant_message(said) if isinstance(said, str) else said)
            if self._items_apart:
                yield ResponseOutputItemDoneEvent(
                    item=output[-1], output_index=0, sequence_number=number, type="response.output_item.done"
                )
        answer = Response(
            id=f"r{len(heard)}",
            created_at=0,
            model="fake",
            object="response",
            output=[] if self._items_apart else output,
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
            usage=ResponseUsage(
                input_tokens=10 * len(heard),
                input_tokens_details=InputTokensDetails(cached_tokens=1, cache_write_tokens=0),
                output_tokens=2,
                output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
                total_tokens=10 * len(heard) + 2,
            ),
        )
        yield ResponseCompletedEvent(response=answer, sequence_number=number + 1, type="response.completed")


def _is_whole(event: Any) -> bool:
    return isinstance(event, ResponseCompletedEvent)


def results(heard: list[Any]) -> list[Any]:
    """What tools have answered since the user's last words."""
    last = max(number for number, item in enumerate(heard) if item.get("role") == "user")
    return [item["output"] for item in heard[last:] if item.get("type") == "function_call_output"]
