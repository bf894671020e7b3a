"""A model call of an agent: one step of its turn, whose outcome is recorded, and whose usage is counted.

Guarantees: an answer that is recorded is never paid again, whichever node goes on with the turn; the agent gets the
recorded answer in the first attempt as in later ones; what a try said that broke off is no part of the answer.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from agentring.agent import Context, Retry
from agentring.models.messages import Message
from agentring.models.model import Model
from agentring.models.reply import ModelTool, Reply
from agentring.models.tries import RETRY, tries


class ModelStream:
    """One call, made by `stream`: its text by `async for`, then `reply`."""

    def __init__(
        self,
        ctx: Context,
        model: Model,
        messages: Sequence[Message],
        tools: Sequence[ModelTool],
        name: str,
        key: str,
        retry: Retry,
    ) -> None:
        """As `stream`."""
        self._ctx = ctx
        self._model = model
        self._messages = messages
        self._tools = tools
        self._name = name
        self._key = key
        self._retry = retry
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """All of the answer. Raises RuntimeError before its end."""
        if self._reply is None:
            raise RuntimeError("the model has not answered yet: read the stream to its end first")
        return self._reply

    async def __aiter__(self) -> AsyncIterator[str]:
        """The pieces of the answer's text."""
        if self._reply is not None:
            raise RuntimeError("a model's stream is read once")
        record = await self._ctx.step(self._name, self._run, key=self._key)
        self._reply = Reply.from_json(record)
        self._ctx.add_usage(self._reply.usage)
        if self._reply.text:
            yield self._reply.text

    async def _run(self) -> dict[str, Any]:
        reply: Reply | None = None
        async with aclosing(tries(self._model, self._messages, self._tools, self._retry)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Reply):
                    reply = piece
        assert reply is not None
        return reply.to_json()


def stream(
    ctx: Context,
    model: Model,
    messages: Sequence[Message],
    *,
    tools: Sequence[ModelTool] = (),
    name: str = "model",
    key: str = "",
    retry: Retry = RETRY,
) -> ModelStream:
    """Calls a model as a step of the turn.

        answer = stream(ctx, model, [user(ctx.input_text)])
        async for text in answer:
            yield text
        for call in answer.reply.tool_calls: ...

    name: the step's. key: by which the call is known again when the turn is run again; without one: the messages. Calls
    with equal messages at the same time need one each. retry: how often, and how long after each other, it is tried;
    rate limits (the wait that the endpoint asks for, if it is at most `most_wait_s`), errors of the server, connections
    that fail, time-outs and streams that break off are, all within the step. Usage is added to the turn's.

    Iterating raises StepFailed with ModelFailed's text where the model did not answer, and what Context.step raises.
    Cancellation: the call is cut off; it may be paid.
    """
    return ModelStream(ctx, model, messages, tools, name, key or _key_of(messages), retry)


async def complete(
    ctx: Context,
    model: Model,
    messages: Sequence[Message],
    *,
    tools: Sequence[ModelTool] = (),
    name: str = "model",
    key: str = "",
    retry: Retry = RETRY,
) -> Reply:
    """As `stream`, where nobody waits for the pieces: the whole answer.

    reply = await complete(ctx, model, [user("Say yes or no: " + ctx.input_text)])
    """
    answer = stream(ctx, model, messages, tools=tools, name=name, key=key, retry=retry)
    async for _ in answer:
        pass
    return answer.reply


def _key_of(messages: Sequence[Message]) -> str:
    """Raises TypeError, ValueError where they are no JSON."""
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        digest.update(json.dumps(message, sort_keys=True, allow_nan=False).encode() + b"\n")
    return digest.hexdigest()
