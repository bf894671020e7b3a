"""The metadata of calls that a process makes to a node itself: for itself, or for who has called it.

Used by the router's own services and by nodes; the relay's calls are made in router/relay.
"""

from agentring.address import is_loopback
from agentring.auth.caller_fields import Pairs, caller_pairs
from agentring.auth.identity import Identity
from agentring.auth.signatures import Signer


def peer_metadata(
    signer: Signer | None,
    path: str,
    address: str,
    incarnation: int,
    *,
    routing: Pairs = (),
    identity: Identity | None = None,
) -> Pairs:
    """signer: None: nodes ask nobody who he is, or know it by a certificate; path: the RPC's full name; address,
    incarnation: of the node; routing: what of the metadata routes; identity: whose call it is; None: the process's
    own."""
    said = (*routing, *caller_pairs(identity)) if identity is not None else routing
    # Off this machine a signature proves nothing that a certificate would not prove better.
    if signer is None or not is_loopback(address):
        return said
    return (*said, *signer.pairs(path, said, incarnation))
