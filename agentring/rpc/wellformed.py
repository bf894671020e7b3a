"""Which header fields gRPC allows in a request, beyond what HTTP/2 does.

HTTP/2 (RFC 9113 8.2) lets nearly every byte through, and agentring/http2 reads no more closely than that. gRPC's own
rules are narrower, and servers behind us rely on them: one that decodes a path as UTF-8 may end for one byte beyond it.
So what is not allowed is answered where it comes in. Called by everything that takes requests from outside.
"""

import binascii
import re
from collections.abc import Sequence
from typing import Final

from agentring.http2.hpack import Field

MAX_LINE_CHARS: Final = 1024
"""Of :path and of :authority."""

_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]*")
_NAME: Final = re.compile(r"[0-9a-z_.\-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NUMBERS: Final = frozenset({"grpc-previous-rpc-attempts", "grpc-retry-pushback-ms"})
_GRPC: Final = "application/grpc"
_ONCE: Final = frozenset({"content-type", "content-length", "grpc-timeout", "grpc-encoding", "host"})


def malformed(fields: Sequence[Field]) -> str:
    """The name of the first field that is not allowed; empty: all are."""
    seen = set()
    for field in fields:
        if not is_allowed(field.name, field.value) or field.name in seen:
            return field.name
        if field.name in _ONCE:
            seen.add(field.name)
    return ""


def is_allowed(name: str, value: str) -> bool:
    """Whether a field may be said at all."""
    if name == ":path":
        return len(value) <= MAX_LINE_CHARS and _PATH.fullmatch(value) is not None
    if name == ":authority" or name == "host":
        return len(value) <= MAX_LINE_CHARS and _AUTHORITY.fullmatch(value) is not None
    if name == ":scheme":
        return value == "http" or value == "https"
    if name.startswith(":"):
        return True  # :method, which says whether it is gRPC at all
    if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        return False
    if name.endswith("-bin"):
        return _is_base64(value)
    return name not in _NUMBERS or _NUMBER.fullmatch(value) is not None


def is_grpc(content_type: str) -> bool:
    """Whether it is gRPC's, and not another protocol's whose name begins with it, such as grpc-web."""
    return content_type.startswith(_GRPC) and content_type[len(_GRPC) : len(_GRPC) + 1] in ("", "+", ";")


def _is_base64(value: str) -> bool:
    """With padding or without; several values are separated by commas."""
    for part in value.split(","):
        bare = part.strip(" ").rstrip("=")
        try:
            binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
        except ValueError:
            return False
    return True
