"""The URI that a certificate names its holder by, of the form of a SPIFFE id: `spiffe://CLUSTER/node/ID`.

Names are compared as they stand, byte for byte. A cluster's and a node's have no slash, so no two holders share one.
"""

from enum import StrEnum

SCHEME = "spiffe://"


class Holder(StrEnum):
    """What a certificate is for."""

    router = "router"
    node = "node"
    client = "client"


def uri_of(cluster: str, holder: Holder, name: str) -> str:
    """The URI of a router, a node or a client."""
    return f"{SCHEME}{cluster}/{holder}/{name}"
