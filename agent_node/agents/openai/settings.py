"""The settings of the agent `openai`, from the node's environment; OPENAI_API_KEY and OPENAI_BASE_URL are read by the
openai package itself."""

from importlib import import_module
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from agentring.agent import Tool


class OpenAISettings(BaseSettings):
    """Each is a variable of the same name, with OPENAI_ before it."""

    model_config = SettingsConfigDict(env_prefix="OPENAI_", frozen=True, extra="ignore")

    model: Annotated[str, Field(min_length=1)] = "gpt-4.1-mini"
    instructions: str = ""
    tools: str = ""
    """package.module:attribute, with commas between several: async functions, or what `@tool` made of them."""
    asks_before: str = ""
    """Names of tools, with commas: those that are called only after the user's yes."""
    most_rounds: Annotated[int, Field(ge=1)] = 20
    history_bytes: Annotated[int, Field(ge=0, le=768 << 10)] = 128 << 10


def listed(names: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in names.split(",") if name.strip()]


def load_tool(where: str) -> Tool[..., Any]:
    """where: package.module:attribute. Raises ValueError, which names it, and what the import raises."""
    module, colon, attribute = where.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"OPENAI_TOOLS has package.module:attribute, with commas between several, not {where!r}")
    found = getattr(import_module(module), attribute, None)
    if found is None:
        raise ValueError(f"OPENAI_TOOLS: {module} has no {attribute}")
    return found if isinstance(found, Tool) else Tool(found)
