"""A model that says what the example needs, by what it hears alone: a call that is made again has the same answer."""

import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelResponse
from agents.items import TResponseOutputItem, TResponseStreamEvent
from agents.testing import assistant_message, function_call
from openai.types.responses import Response, ResponseCompletedEvent, ResponseTextDeltaEvent, ResponseUsage
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

CALLS = os.environ.get("EXAMPLE_CALLS", "")
"""A file that gets a line for each call; empty: none does."""


class FakeModel(Model):
    """Looks into the stock, orders two, and says what came of it."""

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """As Model; never called."""
        raise NotImplementedError("this model is streamed")

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        """As Model."""
        last_user = max(number for number, item in enumerate(input) if item.get("role") == "user")
        results = [item["output"] for item in input[last_user:] if item.get("type") == "function_call_output"]
        if CALLS:
            with open(CALLS, "a") as calls:  # noqa: ASYNC230  one line
                calls.write(f"model call {len(results) + 1}\n")
        text, output = _answer(input[last_user]["content"], results, f"{len(input)}")
        words = re.findall(r"\S+\s*", text)
        for number, word in enumerate(words):
            yield _delta(word, number)
        if text:
            output.append(assistant_message(text))
        yield ResponseCompletedEvent(
            response=Response(
                id=f"answer-{len(input)}",
                created_at=0,
                model="fake",
                object="response",
                output=output,
                parallel_tool_calls=True,
                tool_choice="auto",
                tools=[],
                usage=_usage(10 * len(input), len(words)),
            ),
            sequence_number=len(words),
            type="response.completed",
        )


def _answer(item: str, results: list[str], call_id: str) -> tuple[str, list[TResponseOutputItem]]:
    match results:
        case []:
            return "Let me look.", [function_call("stock", json.dumps({"item": item}), call_id=call_id)]
        case ["0"]:
            return f"There is no {item}.", []
        case [_]:
            return "", [function_call("order", json.dumps({"item": item, "count": 2}), call_id=call_id)]
    return f"So: {results[-1]}", []


def _usage(read: int, written: int) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=read,
        input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        output_tokens=written,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=read + written,
    )


def _delta(text: str, number: int) -> ResponseTextDeltaEvent:
    return ResponseTextDeltaEvent(
        content_index=0,
        delta=text,
        item_id="answer",
        logprobs=[],
        output_index=0,
        sequence_number=number,
        type="response.output_text.delta",
    )
