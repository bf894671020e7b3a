"""What a model is to agents: any class with these two members, also a test's."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from agentring.models.messages import Message
from agentring.models.reply import ModelTool, Reply


class Model(Protocol):
    """Something that answers messages.

    class Parrot:
        name = "parrot"

        async def stream(self, messages, tools=()):
            for word in ("you ", "said ", messages[-1]["content"]):
                yield word
            yield Reply("you said " + messages[-1]["content"])
    """

    @property
    def name(self) -> str:
        """For logs and errors."""

    def stream(self, messages: Sequence[Message], tools: Sequence[ModelTool] = ()) -> AsyncIterator[str | Reply]:
        """One try: the pieces of the answer's text as they come, and the Reply, which has all of it, last.

        Raises ModelFailed, which says whether it may be tried again. Cancellation, and closing the iterator: the call
        is cut off.
        """
