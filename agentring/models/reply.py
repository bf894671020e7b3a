"""What a model has answered, and what it may call; also as the JSON that a step of the journal keeps of it."""

import json
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from agentring.usage import Usage

ONE_CALL: Final = Usage(model_calls=1)


class ModelTool(Protocol):
    """A tool, as a model is told of it: a ToolSpec, or whatever else has these three.

    names = [tool.name for tool in tools]
    """

    @property
    def name(self) -> str:
        """1 to 64 letters, digits, `_` and `-`."""

    @property
    def description(self) -> str:
        """What it does, for the model."""

    @property
    def parameters(self) -> dict[str, Any]:
        """A JSON Schema of its arguments, an object."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A ModelTool by itself.

    arguments = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    weather = ToolSpec("weather", "The weather of a city.", arguments)
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to be called.

    call = ToolCall("call-1", "weather", '{"city": "Oslo"}')
    """

    call_id: str
    """The model's own name of this call."""
    name: str
    arguments_json: str
    """As the model wrote them, which need not be JSON."""

    def arguments(self) -> dict[str, Any]:
        """The arguments by name. Raises ValueError, which says to a model what is wrong, where they are no object."""
        try:
            found = json.loads(self.arguments_json or "{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the arguments of {self.name} are not valid JSON: {error}") from None
        if type(found) is not dict:
            raise ValueError(f"the arguments of {self.name} must be a JSON object")
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """All of a model's answer.

    reply = Reply("It is sunny.", usage=Usage(input_tokens=12, output_tokens=4, model_calls=1))
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = ONE_CALL
    """Tokens are 0 where the endpoint did not say."""
    finish_reason: str = "stop"
    """Why it ended: `stop`, `tool_calls`, `length` (its most tokens), `content_filter`, or as the endpoint says."""

    def to_json(self) -> dict[str, Any]:
        """What there is beside the text."""
        used = self.usage
        record: dict[str, Any] = {"finish": self.finish_reason}
        record["usage"] = [used.input_tokens, used.output_tokens, used.cached_tokens, used.model_calls]
        if self.tool_calls:
            record["tools"] = [[call.call_id, call.name, call.arguments_json] for call in self.tool_calls]
        return record

    @classmethod
    def from_json(cls, text: str, record: dict[str, Any]) -> "Reply":
        """What `to_json` made JSON of, with its text."""
        calls = tuple(ToolCall(*call) for call in record.get("tools", ()))
        return cls(text, calls, Usage(*record["usage"]), record["finish"])
