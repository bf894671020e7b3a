"""The metadata by which a router tells a node, or a hosted service, who calls. Only peers may set them.

Guarantees: what was written is read again as it was, whatever characters a subject has; never a credential. Called by
the relay, by the router's own services, and by a node's server.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from agentring import metadata
from agentring.auth.identity import Identity, Role
from agentring.errors import NotAuthenticated

Pairs = tuple[tuple[str, str], ...]

_SAFE: Final = "!#$&'()*+,/:;=?@[]^`{|}\"<>\\"
_ROLES: Final = {role.value: role for role in Role}


@lru_cache(4_096)
def caller_pairs(identity: Identity) -> Pairs:
    """Names and values; a subject's and a credential's are percent-encoded."""
    return (
        (metadata.CALLER_TENANT, identity.tenant),
        (metadata.CALLER_SUBJECT, quote(identity.subject, _SAFE)),
        (metadata.CALLER_ROLES, ",".join(sorted(identity.roles))),
        (metadata.CALLER_CREDENTIAL, quote(identity.credential_id, _SAFE)),
    )


def read_caller(fields: Mapping[str, str]) -> Identity | None:
    """Who calls, as a peer says; None: it says nothing, and so calls for itself. Raises NotAuthenticated where it does
    not say all."""
    if metadata.CALLER_TENANT not in fields:
        return None
    try:
        return _read(
            fields[metadata.CALLER_TENANT],
            fields[metadata.CALLER_SUBJECT],
            fields[metadata.CALLER_ROLES],
            fields[metadata.CALLER_CREDENTIAL],
        )
    except KeyError:
        raise NotAuthenticated("a peer has not said all about its caller") from None


@lru_cache(4_096)
def _read(tenant: str, subject: str, roles: str, credential: str) -> Identity:
    """A role that this version does not know counts for nothing."""
    known = frozenset(_ROLES[role] for role in roles.split(",") if role in _ROLES)
    return Identity(tenant, unquote(subject), known, unquote(credential), None)
