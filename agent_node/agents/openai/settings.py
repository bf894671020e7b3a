"""The settings of the agent `openai`: OPENAI_MODEL and so on, or the table [openai] of --agent-settings."""

from importlib import import_module
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from agentring.agent import Tool


class OpenAISettings(BaseModel):
    """As read by the node. Raises ValueError where a tool cannot be loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    api_key: SecretStr = SecretStr("")
    base_url: str = ""
    """Empty: OpenAI's."""
    model: Annotated[str, Field(min_length=1)] = "gpt-4.1-mini"
    instructions: str = ""
    tools: list[str] = []
    """Each package.module:attribute: an async function, or what `@tool` made of one."""
    asks_before: list[str] = []
    """Names of tools that are called only after the user's yes."""
    most_rounds: Annotated[int, Field(ge=1)] = 20
    history_bytes: Annotated[int, Field(ge=0, le=768 << 10)] = 128 << 10

    @field_validator("tools")
    @classmethod
    def _load(cls, tools: list[str]) -> list[str]:
        for where in tools:
            load_tool(where)
        return tools


def load_tool(where: str) -> Tool[..., Any]:
    """where: package.module:attribute. Raises ValueError, which names it."""
    module, colon, attribute = where.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"a tool is package.module:attribute, not {where!r}")
    try:
        found = getattr(import_module(module), attribute)
        return found if isinstance(found, Tool) else Tool(found)
    except Exception as error:
        raise ValueError(f"the tool {where}: {type(error).__name__}: {error}") from error
