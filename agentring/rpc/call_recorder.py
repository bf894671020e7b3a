"""Where a server says which calls it was asked for; agentring/audit has the one that there is. None costs nothing."""

from __future__ import annotations

from typing import Protocol

from agentring.auth.identity import Identity
from agentring.rpc.request_head import RequestHead


class CallRecorder(Protocol):
    """Is handed what a server's calls are."""

    def opened(self, head: RequestHead, peer: str, caller: Identity | None) -> None:
        """A call's headers came. peer: from where; caller: None: nobody was asked; a refusal stands in the
        headers."""

    def named(self, head: RequestHead, peer: str, caller: Identity | None, tenant: str, target: str) -> None:
        """The call's message says what it is about, and its headers did not."""

    def refused(self, head: RequestHead, peer: str, caller: Identity | None, reason: str) -> None:
        """A call that was opened may not do what its message asks for. reason: of agentring.errors."""
