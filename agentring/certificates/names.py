"""The URI that a certificate names its holder by, of the form of a SPIFFE id: `spiffe://CLUSTER/node/ID`.

Names are compared as they stand, byte for byte. A cluster's and a node's have no slash, so no two holders share one.
"""

from base64 import b32encode
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

SCHEME = "spiffe://"
_HOST_SUFFIX = ".peer.agentring.internal"


class Holder(StrEnum):
    """What a certificate is for."""

    router = "router"
    node = "node"
    client = "client"


def peer_name(cluster: str, uris: Iterable[str]) -> str:
    """`router/ID` or `node/ID`, of a certificate's URIs; empty: it is no peer's of this cluster, or several peers'."""
    begins = tuple(uri_of(cluster, holder, "") for holder in (Holder.router, Holder.node))
    found = [uri.removeprefix(f"{SCHEME}{cluster}/") for uri in uris if uri.startswith(begins)]
    return found[0] if len(found) == 1 else ""


def uri_of(cluster: str, holder: Holder, name: str) -> str:
    """The URI of a router, a node or a client."""
    return f"{SCHEME}{cluster}/{holder}/{name}"


def host_name_of(uri: str) -> str:
    """The DNS name that stands for the URI in every certificate that has it. gRPC compares host names alone, and in no
    case: this one is the URI's SHA-256, so it is nobody else's."""
    return f"{b32encode(sha256(uri.encode()).digest()).decode().rstrip('=').lower()}{_HOST_SUFFIX}"
