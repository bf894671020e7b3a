"""Header blocks that end a call, or begin its response, at a server of our own services."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Final

from agentring.errors import AgentringError
from agentring.http2.hpack import block
from agentring.rpc.request_head import ENCODINGS
from agentring.rpc.status import trailers

HEAD: Final = block(
    ((":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", ", ".join(ENCODINGS)))
)
OK: Final = block((("grpc-status", "0"),))


@lru_cache(1024)
def headers(pairs: tuple[tuple[str, str], ...]) -> bytes:
    """The headers of a response; pairs: its initial metadata, which is the same for a session's next call."""
    return HEAD + block(pairs)


def error_trailers(error: AgentringError) -> bytes:
    """The trailers of a call that ends with an error."""
    details = [(name, value if isinstance(value, str) else _base64(value)) for name, value in trailers(error)]
    status = (("grpc-status", str(error.code.value[0])), ("grpc-message", percent_encoded(error.sentence)))
    return block((*status, *details))


def percent_encoded(sentence: str) -> str:
    """As gRPC has its messages: printable ASCII, with everything else as %XX."""
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in sentence.encode("utf-8", "replace")
    )


def _base64(value: bytes) -> str:
    return base64.b64encode(value).rstrip(b"=").decode()
