"""Who has a turn or a task run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the turn, or began the task: `ctx.caller`.

    if ctx.caller.metadata.get("x-locale") == "nb":
        yield "Hei!"
    """

    tenant: str
    """As the metadata `x-tenant-id` says."""
    subject: str = ""
    """The authenticated caller. Empty until agentring authenticates callers: until then nobody has proved who calls."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """What was proved of the caller. Empty, as `subject`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Those of the call's metadata that the node's setting `--caller-metadata` names, which is none by default: whoever
    calls can write there what he likes, unless a proxy before the router sets it."""
