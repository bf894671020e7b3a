"""The old place of what an agent's author imports, for one release: import it from agentring.agent."""

import warnings
from typing import TYPE_CHECKING, Any

import agentring.agent

if TYPE_CHECKING:
    from agentring.agent import Agent, AgentEvent, Answer, JsonObject, NobodyToAsk, PastTurn, Result, TurnContext

__all__ = ["Agent", "AgentEvent", "Answer", "JsonObject", "NobodyToAsk", "PastTurn", "Result", "TurnContext"]


def __getattr__(name: str) -> Any:
    """The name from its new place, with a DeprecationWarning."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"{__name__}.{name} goes with the next release: import it from agentring.agent",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(agentring.agent, name)
