"""Who the certificate of a connection's other end names, found once, after the handshake.

Only a certificate that was verified is looked at; whether its names may do anything is for others to decide.
"""

import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a TLS connection, by its certificate."""

    uris: tuple[str, ...]
    """Its URI names, as they stand in the certificate."""
    dns: tuple[str, ...]
    """Its DNS names, as they stand in the certificate."""
    not_after_s: float
    """When the certificate ends, in Unix seconds."""
    names: tuple[str, ...] = ()
    """All of them, `URI:` or `DNS:` before each; DNS names in lower case."""


def peer_of(tls: ssl.SSLObject | None) -> Peer | None:
    """None: plaintext, or no certificate that was asked for and verified."""
    found = tls.getpeercert() if tls is not None else None
    if not found:
        return None
    names = found.get("subjectAltName", ())
    uris, dns = (tuple(str(name[1]) for name in names if name[0] == kind) for kind in ("URI", "DNS"))
    named = (*(f"URI:{name}" for name in uris), *(f"DNS:{name.lower()}" for name in dns))
    return Peer(uris, dns, ssl.cert_time_to_seconds(str(found["notAfter"])), named)
