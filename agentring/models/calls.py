"""A model call of an agent: one step of its turn, whose outcome is recorded, and whose usage is counted.

Guarantees: an answer that is recorded is never paid again, whichever node goes on with the turn; the agent gets the
recorded answer in the first attempt as in later ones; what a try said that broke off is no part of the answer, except
where the try that made it good has said it, too.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from agentring.agent import Context, Retry, StepStream
from agentring.models.messages import Message
from agentring.models.model import Model
from agentring.models.reply import ModelTool, Reply
from agentring.models.seen_text import SeenText
from agentring.models.tries import RETRY, BrokenOff, tries


class ModelStream:
    """One call, made by `stream`: its text by `async for`, once, then `reply`. Nothing is called before the first piece
    is asked for.

        answer = stream(ctx, model, messages)
        async for text in answer:
            yield text
        used = answer.reply.usage

    Who leaves it early closes it before the next step: `async with`, or `aclose`; then there is no reply.
    """

    def __init__(self, ctx: Context, steps: StepStream) -> None:
        self._ctx = ctx
        self._steps = steps
        self._texts: list[str] = []
        self._reply: Reply | None = None

    @property
    def reply(self) -> Reply:
        """All of the answer. Raises RuntimeError before its end.

        calls = answer.reply.tool_calls
        """
        if self._reply is None:
            raise RuntimeError("the model has not answered yet: read the stream to its end first")
        return self._reply

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> str:
        """The next piece of the text. Raises as `stream` says."""
        try:
            text = await anext(self._steps)
        except StopAsyncIteration:
            if self._reply is None and self._steps.result is not None:
                self._reply = Reply.from_json("".join(self._texts), self._steps.result)
                self._ctx.add_usage(self._reply.usage)
            raise
        self._texts.append(text)
        return text

    async def aclose(self) -> None:
        """Leaves it.

        await answer.aclose()
        """
        await self._steps.aclose()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As aclose."""
        await self.aclose()


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

    Pieces are handed on as they come. So a try that broke off after its first piece is made good by one that says the
    same again, of which only the rest is handed on; where it says something else, the call has failed. `complete` has
    no such bound, since nobody has seen its broken tries.

    Iterating raises StepFailed with ModelFailed's text where the model did not answer, and what Context.step raises.
    Cancellation: the call is cut off; it may be paid.
    """

    async def pieces() -> AsyncIterator[str | dict[str, Any]]:
        seen = SeenText()
        async with aclosing(tries(model, messages, tools, retry)) as tried:
            async for piece in tried:
                if isinstance(piece, Reply):
                    seen.finish()
                    yield piece.to_json()
                elif isinstance(piece, BrokenOff):
                    seen.restart(piece.error)
                elif text := seen.fresh(piece):
                    yield text

    return ModelStream(ctx, ctx.stream_step(name, pieces, key=key or _key_of(messages)))


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

    async def whole() -> dict[str, Any]:
        async with aclosing(tries(model, messages, tools, retry)) as tried:
            async for piece in tried:
                if isinstance(piece, Reply):
                    return {"text": piece.text, **piece.to_json()}
        raise AssertionError("tries end with a Reply")

    record = await ctx.step(name, whole, key=key or _key_of(messages))
    reply = Reply.from_json(record["text"], record)
    ctx.add_usage(reply.usage)
    return reply


def _key_of(messages: Sequence[Message]) -> str:
    """Raises TypeError, ValueError where they are no JSON."""
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        digest.update(json.dumps(message, sort_keys=True, allow_nan=False).encode() + b"\n")
    return digest.hexdigest()
