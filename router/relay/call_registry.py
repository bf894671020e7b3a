"""The calls that have not ended, and those of them that wait for their session's next owner."""

from __future__ import annotations

from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentringError
from router.relay.call_events import CallEvents


class OwnerWait:
    """One call's wait for its session's next owner."""

    __slots__ = ()

    def hurry(self) -> None:
        """Tries now: the session may have an owner."""
        raise NotImplementedError


class CallRegistry:
    """The calls of one router."""

    def __init__(self) -> None:
        """None yet."""
        self.calls: set[CallEvents] = set()
        self.waiting: set[OwnerWait] = set()

    async def membership_changed(self, snapshot: MembershipSnapshot) -> None:
        """Calls that wait for an owner try again."""
        for wait in list(self.waiting):
            wait.hurry()

    def go_away(self) -> None:
        """Every client is asked to open its streams elsewhere, where its method has words for it."""
        for call in list(self.calls):
            call.go_away()

    def fail_all(self, error: AgentringError) -> None:
        """Ends every call with an error."""
        for call in list(self.calls):
            call.fail(error)
