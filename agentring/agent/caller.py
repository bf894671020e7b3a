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
    """That of the session or task: the caller's own where nodes ask who calls, else as the metadata `x-tenant-id`
    says."""
    subject: str = ""
    """Who has proved to call, as his credential names him. Empty where nodes run without `--auth`: then nobody has."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """What else was proved of the caller. Empty."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Those of the call's metadata that the node's setting `--caller-metadata` names, which is none by default: whoever
    calls can write there what he likes, unless a proxy before the router sets it."""
