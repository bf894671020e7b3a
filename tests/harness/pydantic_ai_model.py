"""A model of Pydantic AI that answers by what it hears, so that a call which is made again has the same answer."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

Answer = Callable[[list[ModelMessage]], Sequence[str | ToolCallPart]]
"""What the model says: words, and calls, of the messages that it hears."""


class ShopModel(FunctionModel):
    """Answers by a function, word by word."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(stream_function=self._says, model_name="fake")
        self._answer = answer
        self.calls: list[list[ModelMessage]] = []
        """What it has heard, call by call."""
        self.instructions: list[str | None] = []
        """Likewise."""

    async def _says(self, heard: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        self.calls.append(list(heard))
        self.instructions.append(info.instructions)
        for number, said in enumerate(self._answer(heard)):
            if isinstance(said, str):
                for word in re.findall(r"\S+\s*", said):
                    yield word
            else:
                yield {number: DeltaToolCall(said.tool_name, said.args_as_json_str(), tool_call_id=said.tool_call_id)}


def call(name: str, call_id: str, **arguments: Any) -> ToolCallPart:
    """A call of a tool."""
    return ToolCallPart(name, arguments, call_id)


def results(heard: Sequence[ModelMessage]) -> list[Any]:
    """What tools have answered since the user's last words."""
    found: list[Any] = []
    for message in heard:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, UserPromptPart):
                found = []
            elif isinstance(part, ToolReturnPart):
                found.append(part.content)
    return found


def prompts(heard: Sequence[ModelMessage]) -> list[Any]:
    """What the user has said."""
    parts = [part for message in heard if isinstance(message, ModelRequest) for part in message.parts]
    return [part.content for part in parts if isinstance(part, UserPromptPart)]


def says_results(*calls: Any) -> ShopModel:
    """Makes the calls, and says what came of them."""
    return ShopModel(lambda heard: [f"{results(heard)}"] if results(heard) else list(calls))
