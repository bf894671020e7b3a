"""Who a call comes from, as his credential says. An identity never has the credential itself, so it may be logged."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do; the words are those of credentials and of the auth file."""

    user = "user"
    """Uses the sessions, tasks and steps of his tenant."""
    viewer = "viewer"
    """Reads those of his tenant."""
    admin = "admin"
    """Settles, cancels, halts and lists what runs in his tenant."""
    operator = "operator"
    """Any tenant, which he names; the cluster."""
    peer = "peer"
    """A router or node of the cluster."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller."""

    tenant: str
    """Whose sessions he sees; empty: the default tenant."""
    subject: str
    """Who he is, in his tenant; it stays when the credential is renewed. Empty: nobody knows."""
    roles: frozenset[Role]
    credential_id: str
    """Names the credential in logs, and is not it; empty: there was none."""
    expires_at: float | None
    """When the credential ends, in Unix seconds; None: never."""


_EVERYTHING = frozenset({Role.user, Role.viewer, Role.admin, Role.operator})


def anonymous(tenant: str) -> Identity:
    """The caller of a cluster without --auth, where everything is open to everybody."""
    return Identity(tenant, "", _EVERYTHING, "", None)
