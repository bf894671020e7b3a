"""The key of the lists' page tokens (services/paging.py): the same for all nodes of a cluster, and for no other.

It comes of the secret that the nodes' store was made with. Nodes that keep sessions in memory have no place for a
secret: theirs comes of the cluster's uuid in etcd, which who reads etcd or the logs knows.
"""

import hashlib
import hmac

_PURPOSE = b"agentring page tokens 1\0"


def page_key(secret: bytes | None, cluster_uuid: str) -> bytes:
    """secret: the store's; None: there is none."""
    return hmac.digest(secret or b"", _PURPOSE + cluster_uuid.encode(), hashlib.sha256)
