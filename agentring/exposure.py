"""Ports that other machines can reach: each needs TLS, and asks who calls, unless somebody has said that it need not.

Guarantees: an address counts as reached unless all that it stands for is the loopback interface, by the same look-up
that a port is bound by; a name that cannot be looked up counts as reached. Called by the settings, before a process
opens anything.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

_UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Port:
    """What a process listens on."""

    flag: str
    """Of the setting, as it is written."""
    address: str
    is_encrypted: bool
    encrypted_by: str
    """The flags that would make it so."""
    asks_who_calls: bool
    asks_by: str
    """The flags that would have it ask."""


def check_ports(ports: Iterable[Port], *, plaintext: bool, anonymous: bool) -> None:
    """plaintext: --insecure-plaintext was said; anonymous: --insecure-anonymous was. Raises ValueError."""
    for port in ports:
        lacks_tls = not (port.is_encrypted or plaintext)
        lacks_auth = not (port.asks_who_calls or anonymous)
        if not (lacks_tls or lacks_auth) or not is_reached(port.address):
            continue
        place = f"{port.flag} {port.address} can be reached from other machines"
        if lacks_tls:
            raise ValueError(f"{place}, in plaintext: give {port.encrypted_by}, or --insecure-plaintext")
        raise ValueError(f"{place}, by anybody: give {port.asks_by}, or --insecure-anonymous")


def is_reached(address: str) -> bool:
    """Whether other machines may reach `host:port` or `unix:path`."""
    if address.startswith(_UNIX):
        return False
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        return True
    return not all(_is_loopback(str(socket_address[0])) for *_, socket_address in found)


def _is_loopback(host: str) -> bool:
    found = ipaddress.ip_address(host)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
