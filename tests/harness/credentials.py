"""An authenticator whose credentials are words: `Bearer ada` is ada's, as long as the test says so."""

from collections.abc import Sequence

from agentring.auth.identity import Identity, Role
from agentring.errors import NotAuthenticated

ADA = Identity("acme", "ada", frozenset({Role.user}), "key-ada", None)
EVE = Identity("globex", "eve", frozenset({Role.user}), "key-eve", None)
OPERATOR = Identity("ops", "olga", frozenset({Role.operator}), "key-olga", None)


class SpokenWords:
    """As Authenticator."""

    def __init__(self) -> None:
        self.known = {f"Bearer {identity.subject}": identity for identity in (ADA, EVE, OPERATOR)}
        self.by_name: dict[str, Identity] = {}
        """Of certificates."""
        self.revoked: set[str] = set()
        """Subjects."""
        self.changes = 0

    def revoke(self, subject: str) -> None:
        """As a file that is read again."""
        self.revoked.add(subject)
        self.changes += 1

    def identify(self, authorization: Sequence[str], peer_names: Sequence[str], _origin: str) -> Identity:
        found = self.known.get(authorization[0]) if len(authorization) == 1 else None
        if not authorization:
            found = next((self.by_name[name] for name in peer_names if name in self.by_name), None)
        if found is None or self.is_revoked(found):
            raise NotAuthenticated("no such word")
        return found

    def is_revoked(self, identity: Identity) -> bool:
        return identity.subject in self.revoked
