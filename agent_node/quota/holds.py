"""What a node counts by name, once each: its sessions, and its tasks under way.

Guarantees: a name is counted once, however many ask for it; making what it stands for either succeeds, or the name is
counted no more. Without limits nothing is counted.
"""

from collections.abc import Awaitable, Container, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent_node.quota.quota import Held, Hold, Quota
from agentring.errors import QuotaExceeded
from agentring.ids import TenantId

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Asking:
    """On whose behalf something is asked for."""

    subject: str = ""
    """Who calls; empty: nobody was asked, or it is the node's own work."""
    was_accepted: bool = False
    """It goes on with what was accepted before, so it is not refused for a limit."""


ANYBODY = Asking()
RESUMING = Asking(was_accepted=True)


class Holds(Generic[K]):
    """Holds of one kind, by name."""

    def __init__(self, quota: Quota | None, what: Held) -> None:
        """quota: None: there are no limits."""
        self._quota = quota
        self._what = what
        self._held: dict[K, Hold] = {}

    def begin(self, name: K, tenant: TenantId, asking: Asking) -> QuotaExceeded | None:
        """Counts what is about to be made, unless it is counted; or says why it may not be made."""
        if self._quota is None or name in self._held:
            return None
        try:
            self._held[name] = self._quota.hold(self._what, tenant, asking.subject, was_accepted=asking.was_accepted)
        except QuotaExceeded as refusal:
            return refusal
        return None

    async def making(self, name: K, made: Awaitable[V], kept: Container[K]) -> V:
        """What is made; unless its name is in `kept` then, it is counted no more."""
        try:
            return await made
        finally:
            if name not in kept:
                self.end(name)

    def end(self, name: K) -> None:
        """It is gone; one that was not counted changes nothing."""
        if (hold := self._held.pop(name, None)) is not None:
            hold.release()

    def clear(self) -> None:
        """All are gone."""
        for name in list(self._held):
            self.end(name)
