"""Addresses, `host:port`, as people write them: what is none is refused at once, with what is wrong about it.

gRPC takes nearly anything for an address: a name without a port, a scheme of its own, a port modulo 65,536. All of
these are then connections that fail for ever, which a client tries again and again. Called wherever an address comes
in: settings, commands, `agentring.client`, etcd's endpoints.
"""

import ipaddress
import re
from functools import lru_cache

_LARGEST_PORT = 65_535
_LOCAL_NAMES = ("localhost", "unix")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/", re.ASCII)
_ETCD_SCHEME = re.compile(r"https?://", re.ASCII)


def check_address(word: str, *, to_listen: bool = False) -> str:
    """The address. to_listen: port 0 is a free one. Raises ValueError, whose words are for people."""
    if (why := _what_is_wrong(word, to_listen=to_listen)) is not None:
        raise ValueError(f"{word!r} is not host:port{why}")
    return word


def check_etcd_endpoint(word: str) -> str:
    """The endpoint, an address or `http://` or `https://` and one. Raises ValueError, whose words are for people."""
    if (why := _what_is_wrong(_ETCD_SCHEME.sub("", word, count=1).removesuffix("/"), to_listen=False)) is not None:
        raise ValueError(f"{word!r} is not host:port, http://host:port or https://host:port{why}")
    return word


@lru_cache(4_096)
def is_loopback(address: str) -> bool:
    """Whether what is said to an address, `host:port` or `unix:path`, stays on this machine. A name other than
    localhost does not count, wherever it leads."""
    host = address.rpartition(":")[0].strip("[]") if not address.startswith("unix:") else "unix"
    try:
        return host in _LOCAL_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _what_is_wrong(word: str, *, to_listen: bool) -> str | None:
    """None: nothing."""
    found = _HOST_PORT.fullmatch(word)
    if found is None:
        return _hint(word)
    if not to_listen and int(found[2]) == 0:
        return ": nobody listens on port 0"
    if int(found[2]) > _LARGEST_PORT:
        return f": the largest port is {_LARGEST_PORT}"
    if word.startswith("["):
        try:
            ipaddress.IPv6Address(found[1][1:-1])
        except ValueError:
            return ": no IPv6 address stands in the brackets"
    return None


def _hint(word: str) -> str:
    if scheme := _SCHEME.match(word):
        return f": leave the {scheme[1]}:// out"
    if re.fullmatch(r"[A-Za-z0-9._-]+:?|\[[0-9a-fA-F:.]*\]:?", word):
        return ": the port is missing"
    if re.fullmatch(r"[0-9a-fA-F:.]+", word) and word.count(":") > 1:
        return ": an IPv6 address stands in brackets, as in [::1]:7700"
    return ""
