"""The old place of what `ctx.once` raises, for one release: import it from agentring.agent."""

import warnings
from typing import TYPE_CHECKING, Any

import agentring.agent

if TYPE_CHECKING:
    from agentring.agent import OnceFailed, OnceTimeout, OnceUnknown

__all__ = ["OnceFailed", "OnceTimeout", "OnceUnknown"]


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
