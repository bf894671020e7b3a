"""A model that does what the test says, one list for each try."""

from collections.abc import AsyncIterator, Sequence

from agentring.models import Message, ModelFailed, ModelTool, Reply

Try = Sequence[str | Reply | Exception]


def broken(
    problem: str = "it broke off", *, is_retryable: bool = True, retry_after_s: float | None = None
) -> ModelFailed:
    """A failure after the answer had begun."""
    return ModelFailed(
        "scripted", "here", problem, is_retryable=is_retryable, retry_after_s=retry_after_s, model_calls=1
    )


class ScriptedModel:
    """Pieces, replies and failures, in order."""

    name = "scripted"

    def __init__(self, *tries: Try) -> None:
        self._tries = list(tries)
        self.requests: list[list[Message]] = []
        self.open = 0
        """Tries that are under way."""

    async def stream(self, messages: Sequence[Message], tools: Sequence[ModelTool] = ()) -> AsyncIterator[str | Reply]:
        """As Model."""
        self.requests.append(list(messages))
        self.open += 1
        try:
            for each in self._tries.pop(0):
                if isinstance(each, Exception):
                    raise each
                yield each
        finally:
            self.open -= 1
