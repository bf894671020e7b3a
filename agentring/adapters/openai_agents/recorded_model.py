"""A model of the SDK whose calls are steps of the turn.

Guarantees: an answer that is recorded is not paid again, whichever node goes on with the turn; the SDK is handed the
recorded answer in the first attempt as in later ones: its words as they come, then the whole. What else a provider
streams, pieces of a tool call's arguments say, is not handed on: it comes with the whole.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelProvider, ModelResponse, Usage
from agents.items import TResponseStreamEvent
from openai.types.responses import Response, ResponseCompletedEvent, ResponseTextDeltaEvent

from agentring import usage
from agentring.adapters.current import current_context

_FAILURES = frozenset({"response.failed", "response.incomplete", "response.error", "error"})


class NoAnswer(Exception):
    """The model's stream did not end with an answer."""


class RecordedModel(Model):
    """A model whose calls are steps of the turn that it is called in."""

    def __init__(self, model: Model) -> None:
        """model: the one that answers."""
        self._model = model

    async def close(self) -> None:
        """As the model's."""
        await self._model.close()

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """As Model; streamed all the same."""
        async for event in self.stream_response(*args, **kwargs):
            if isinstance(event, ResponseCompletedEvent):
                answer = event.response
                return ModelResponse(list(answer.output), _sdk_usage(answer), answer.id)
        raise AssertionError("a stream ends with its answer")

    async def stream_response(
        self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        """As Model."""

        async def pieces() -> AsyncIterator[str | dict[str, Any]]:
            done: list[Any] = []
            async for event in self._model.stream_response(system_instructions, input, *args, **kwargs):
                if event.type == "response.output_text.delta":
                    if event.delta:
                        yield event.delta
                elif event.type == "response.output_item.done":
                    done.append(event.item)
                elif event.type in _FAILURES:
                    raise NoAnswer(f"the model's stream ended with {event.type}: {_why(event)}")
                elif event.type == "response.completed":
                    # Some providers send the items one by one, and none of them with the whole.
                    answer = (
                        event.response if event.response.output else event.response.model_copy(update={"output": done})
                    )
                    yield answer.model_dump(mode="json", exclude_unset=True, warnings=False)
                    return
            raise NoAnswer("the model's stream ended before its answer did")

        ctx = current_context()
        number = 0
        steps = ctx.stream_step("model", pieces, key=_key_of(system_instructions, input))
        async with steps:
            async for text in steps:
                number += 1
                yield _delta(text, number)
        answer = Response.construct(**steps.result)
        ctx.add_usage(_usage(answer))
        yield ResponseCompletedEvent(response=answer, sequence_number=number + 1, type="response.completed")


class RecordingProvider(ModelProvider):
    """A provider of models by name, whose calls are steps."""

    def __init__(self, provider: ModelProvider) -> None:
        """provider: the one that knows the names."""
        self._provider = provider

    def get_model(self, model_name: str | None) -> Model:
        """As ModelProvider."""
        return RecordedModel(self._provider.get_model(model_name))

    async def aclose(self) -> None:
        """As the provider's."""
        await self._provider.aclose()


def _key_of(instructions: Any, input: Any) -> str:
    """Raises TypeError, ValueError where they are no JSON."""
    request = json.dumps([instructions, input], sort_keys=True, allow_nan=False)
    return hashlib.blake2b(request.encode(), digest_size=16).hexdigest()


def _delta(text: str, number: int) -> ResponseTextDeltaEvent:
    return ResponseTextDeltaEvent(
        content_index=0,
        delta=text,
        item_id="",
        logprobs=[],
        output_index=0,
        sequence_number=number,
        type="response.output_text.delta",
    )


def _why(event: Any) -> str:
    answer = getattr(event, "response", None)
    found = getattr(answer, "error", None) or getattr(answer, "incomplete_details", None)
    return str(found or getattr(event, "message", None) or "it does not say why")[:300]


def _usage(answer: Response) -> usage.Usage:
    used = answer.usage
    if used is None:
        return usage.Usage(model_calls=1)
    cached = getattr(used.input_tokens_details, "cached_tokens", 0) or 0
    return usage.Usage(used.input_tokens, used.output_tokens, min(cached, used.input_tokens), 1)


def _sdk_usage(answer: Response) -> Usage:
    used = answer.usage
    if used is None:
        return Usage(requests=1)
    return Usage(
        requests=1,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        total_tokens=used.total_tokens,
    )
