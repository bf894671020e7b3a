"""What a router or a node needs to ask who calls, opened from its settings. Called by their apps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentring.auth.accepted_work import AcceptedWork
from agentring.auth.access import AccessControl
from agentring.auth.authenticator import AuthFile
from agentring.auth.signatures import ClusterSecret, SignatureCheck, Signer


class Registered(Protocol):
    """A node."""

    registered_as: int
    """As SignatureCheck's incarnation."""


@dataclass(frozen=True, slots=True)
class ProcessAccess:
    """Resource handling: one task must run `credentials.run()`."""

    credentials: AuthFile
    accepted_work: AcceptedWork
    control: AccessControl
    """Who may have which call."""
    secret: ClusterSecret | None
    signer: Signer | None
    """Of the process's calls to nodes; None: its certificate says who it is."""

    def signatures(self, node: Registered) -> SignatureCheck | None:
        """Of calls to this node; None: its peers' certificates say who they are."""
        return SignatureCheck(self.secret, lambda: node.registered_as) if self.secret is not None else None


def open_access(auth: Path | None, secret_file: Path | None, cluster: str, name: str) -> ProcessAccess | None:
    """None: nobody is asked who he is. cluster: its name; name: the process's, `router/<id>` or `node/<id>`. Raises
    AuthFileUnusable, SecretUnusable."""
    if auth is None:
        return None
    credentials, secret = AuthFile(auth), None
    if secret_file is not None:
        secret = ClusterSecret.read(secret_file, cluster)
    signer = Signer(secret, name) if secret is not None else None
    return ProcessAccess(
        credentials, AcceptedWork(lambda: credentials.rules), AccessControl(credentials), secret, signer
    )


def credentials_of(access: ProcessAccess | None) -> AuthFile | None:
    """None: nobody is asked who he is."""
    return access.credentials if access is not None else None
