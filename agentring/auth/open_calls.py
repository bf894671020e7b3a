"""The calls that are open, by whose they are, so that they end with the credential that opened them.

Guarantees: a call is told to come again GO_AWAY_S before the credential's end, if it was opened before that; it ends
NOT_AUTHENTICATED at the end, and where the credential is revoked, within a second of that being known. A call costs no
timer. Ticked by the relay and by a node's server.
"""

from typing import Final, Protocol

from agentring.auth.access import AccessControl
from agentring.auth.identity import Identity
from agentring.errors import AgentringError, NotAuthenticated

GO_AWAY_S: Final = 30.0


class OpenCall(Protocol):
    """A call that has not ended."""

    def credential_ends(self) -> None:
        """Its client is to open it anew, if it can be told so."""

    def fail(self, error: AgentringError) -> None:
        """Ends the call."""


class _Group:
    """The calls of one credential."""

    __slots__ = ("calls", "identity", "was_told")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        """Held, so that nobody else has its id."""
        self.calls: dict[OpenCall, bool] = {}
        """And whether each was opened early enough to be told of the end."""
        self.was_told = False


class OpenCalls:
    """Of one process."""

    def __init__(self, control: AccessControl) -> None:
        """control: which knows of revocations."""
        self._control = control
        self._groups: dict[int, _Group] = {}
        self._changes = control.changes

    def __len__(self) -> int:
        """How many there are."""
        return sum(len(group.calls) for group in self._groups.values())

    def add(self, identity: Identity, call: OpenCall, now_s: float) -> None:
        """now_s: Unix time."""
        if (group := self._groups.get(id(identity))) is None:
            group = self._groups[id(identity)] = _Group(identity)
        ends_s = identity.expires_at
        group.calls[call] = ends_s is not None and ends_s - now_s > GO_AWAY_S

    def discard(self, identity: Identity, call: OpenCall) -> None:
        """The call has ended."""
        if (group := self._groups.get(id(identity))) is not None:
            group.calls.pop(call, None)
            if not group.calls:
                del self._groups[id(identity)]

    def tick(self, now_s: float) -> None:
        """Once a second. now_s: Unix time."""
        control, changes = self._control, self._control.changes
        has_changed, self._changes = changes != self._changes, changes
        for group in list(self._groups.values()):
            if has_changed or control.has_ended(group.identity):
                try:
                    control.check_still_valid(group.identity)
                except NotAuthenticated as error:
                    for call in list(group.calls):
                        call.fail(error)
                    continue
            ends_s = group.identity.expires_at
            if ends_s is not None and not group.was_told and ends_s - now_s <= GO_AWAY_S:
                group.was_told = True
                for call in [call for call, is_early in group.calls.items() if is_early]:
                    call.credential_ends()
