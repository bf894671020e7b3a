"""The URI that a certificate names its holder by, of the form of a SPIFFE id: `spiffe://CLUSTER/node/ID`.

Names are compared as they stand, byte for byte. A cluster's and a node's have no slash, so no two holders share one.
"""

from collections.abc import Iterable
from enum import StrEnum

SCHEME = "spiffe://"


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
