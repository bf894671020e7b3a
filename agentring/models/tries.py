"""Calls a model until it has answered: what of its failures is tried again, and when.

Guarantees: one policy, whatever the model; a try begins after the wait that the endpoint asked for, or not at all where
that is longer than the policy allows; what a try said before it broke off is said to be void; failed tries count in the
usage.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from agentring.agent import Retry, Usage
from agentring.models.errors import ModelFailed
from agentring.models.messages import Message
from agentring.models.model import Model
from agentring.models.reply import ModelTool, Reply


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """The pieces so far are of a try that broke off."""

    error: ModelFailed
    """Why."""


RETRY = Retry(most_tries=6, first_wait_s=0.5, most_wait_s=60.0, errors=(ModelFailed,))
"""What is done where the caller does not say."""


async def tries(
    model: Model, messages: Sequence[Message], tools: Sequence[ModelTool], retry: Retry
) -> AsyncGenerator[str | BrokenOff | Reply, None]:
    """Pieces of text, BrokenOff after those of a try that did, and the Reply last. Raises ModelFailed."""
    failed = 0
    broken_off = 0
    while True:
        has_spoken = False
        try:
            async with aclosing(_one_try(model, messages, tools)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        yield _with_broken(piece, broken_off)
                        return
                    has_spoken = True
                    yield piece
        except ModelFailed as error:
            failed += 1
            broken_off += error.model_calls
            wait_s = max(retry.wait_s(failed), error.retry_after_s or 0.0)
            if not (error.is_retryable and retry.tries_again(error, failed)):
                raise _after(error, failed) from error
            if wait_s > retry.most_wait_s:
                advice = f"it asks to wait {wait_s:.0f} s, longer than the {retry.most_wait_s:.0f} s of the policy"
                raise replace(error, advice=advice) from error
            broken = error
        if has_spoken:
            yield BrokenOff(broken)
        await asyncio.sleep(wait_s)


async def _one_try(
    model: Model, messages: Sequence[Message], tools: Sequence[ModelTool]
) -> AsyncGenerator[str | Reply, None]:
    reply: Reply | None = None
    said: list[str] = []
    stream = model.stream(messages, tools)
    try:
        async for piece in stream:
            if reply is not None:
                raise TypeError(f"the model {model.name} went on after its Reply")
            if isinstance(piece, Reply):
                reply = piece
            elif piece:
                said.append(piece)
                yield piece
    finally:
        if (close := getattr(stream, "aclose", None)) is not None:
            await close()
    if reply is None:
        raise TypeError(f"the model {model.name} ended without a Reply")
    text = "".join(said)
    if not reply.text.startswith(text):
        raise TypeError(f"the model {model.name} has a Reply with another text than its pieces")
    if rest := reply.text[len(text) :]:
        yield rest
    yield reply


def _with_broken(reply: Reply, model_calls: int) -> Reply:
    return replace(reply, usage=reply.usage + Usage(model_calls=model_calls)) if model_calls else reply


def _after(error: ModelFailed, tried: int) -> ModelFailed:
    return replace(error, problem=f"{error.problem} (tried {tried} times)") if tried > 1 else error
