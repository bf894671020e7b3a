"""A call's header fields as a server of our own services sees them: what RFC 9113 and gRPC allow, and what they say.

What the calls of one peer have in common is looked at once (`_SharedFields`). What RFC 9113 forbids is StreamBroken.
What gRPC forbids is a `refusal`, which the client is told with an ErrorInfo like any other error; nothing that a field
holds is raised. Called by ServiceConnection.
"""

from __future__ import annotations

import re
from typing import Final

from agentring.errors import AgentringError, EncodingNotSupported, MalformedHeader, MetadataTooLarge
from agentring.http2.frames import Code, StreamBroken
from agentring.http2.hpack import Field
from agentring.rpc.limits import MAX_METADATA_BYTES, ROUTING
from agentring.rpc.wellformed import is_allowed, is_grpc, malformed

ENCODINGS: Final = ("identity", "deflate", "gzip")

_PSEUDO: Final = frozenset({":method", ":scheme", ":path", ":authority"})
_OWN_KINDS: Final = ("routing", "dropped")
"""Of the fields that differ from call to call of one peer; a router's calls have few others that do."""
_GRPC: Final = "application/grpc"
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_TIMEOUT_S: Final = 1e8
_MAX_LENGTH_DIGITS: Final = 18


class _SharedFields:
    """What the calls of one peer have in common: all fields but those that route, and those from router to node."""

    __slots__ = (
        "encoding",
        "fields",
        "http_method",
        "is_grpc",
        "last_pseudo",
        "malformed",
        "metadata",
        "method",
        "size_bytes",
    )

    def __init__(self, fields: list[Field]) -> None:
        """Raises StreamBroken where RFC 9113 8.3 forbids them."""
        pseudo: dict[str, str] = {}
        metadata: dict[str, str] = {}
        size_bytes = 0
        for index, field in enumerate(fields):
            name = field.name
            if field.kind == "pseudo":
                if index > len(pseudo) or name in pseudo or name not in _PSEUDO:
                    raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not well formed")
                pseudo[name] = field.value
                continue
            if field.kind == "forbidden":
                raise StreamBroken(Code.PROTOCOL_ERROR, "a field of HTTP/1")
            size_bytes += len(name) + len(field.value) + 32
            if not name.endswith("-bin"):
                metadata[name] = field.value
        if not (pseudo.get(":path") and pseudo.get(":method") and pseudo.get(":scheme")):
            raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not complete")
        self.fields = fields
        self.last_pseudo = len(pseudo) - 1
        """Its place."""
        self.method = pseudo[":path"]
        self.http_method = pseudo[":method"]
        self.metadata = metadata
        self.size_bytes = size_bytes
        self.is_grpc = self.http_method == "POST" and is_grpc(metadata.get("content-type", ""))
        self.encoding = metadata.get("grpc-encoding", "")
        self.malformed = bool(malformed(fields))


class RequestHead:
    """What a call's headers say."""

    __slots__ = ("content_length", "encoding", "is_grpc", "metadata", "method", "refusal", "shared", "timeout_s")

    def __init__(self, fields: list[Field], last: RequestHead | None = None) -> None:
        """last: of the same peer; what has not changed since is not looked at again. Raises StreamBroken where RFC 9113
        8.3 forbids the fields."""
        own = [field for field in fields if field.kind in _OWN_KINDS]
        others = [field for field in fields if field.kind not in _OWN_KINDS]
        shared: _SharedFields = (
            last.shared if last is not None and others == last.shared.fields else _SharedFields(others)
        )
        if fields[shared.last_pseudo] is not others[shared.last_pseudo]:
            raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not well formed")
        metadata = dict(shared.metadata)
        size_bytes = shared.size_bytes
        is_malformed = shared.malformed
        for field in own:
            name, value = field.name, field.value
            if name in ROUTING:
                is_malformed = is_malformed or not (value.isascii() and value.isprintable())
            else:
                size_bytes += len(name) + len(value) + 32
                is_malformed = is_malformed or name in metadata or not is_allowed(name, value)
            if not name.endswith("-bin"):
                metadata[name] = value
        self.shared: _SharedFields = shared
        self.method = shared.method
        """The RPC's full name, `/package.Service/Method`."""
        self.metadata = metadata
        """Text, by name; of one that came several times, the last."""
        self.content_length = _content_length(metadata.get("content-length"))
        self.is_grpc = shared.is_grpc
        self.encoding = shared.encoding
        """How its messages are compressed, where they are."""
        self.timeout_s: float | None = None
        """The client's deadline."""
        self.refusal: AgentringError | None = None
        """Why the call is not served."""
        if size_bytes > MAX_METADATA_BYTES:
            self.refusal = MetadataTooLarge()
        elif is_malformed and (name := malformed(fields)):
            self.refusal = MalformedHeader(name)
        elif self.encoding and self.encoding not in ENCODINGS:
            self.refusal = EncodingNotSupported()
        elif (text := metadata.get("grpc-timeout")) is not None:
            self._read_timeout(text)

    @property
    def http_method(self) -> str:
        """`POST`, if it is gRPC."""
        return self.shared.http_method

    @classmethod
    def unread(cls) -> RequestHead:
        """Stands for one whose headers are too long to be read."""
        names = ((":method", "POST"), (":scheme", "http"), (":path", "/"), ("content-type", _GRPC))
        head = cls([Field(b"", name, value, b"", "pseudo" if name[0] == ":" else "plain") for name, value in names])
        head.refusal = MetadataTooLarge()
        return head

    def _read_timeout(self, text: str) -> None:
        if (found := _TIMEOUT.fullmatch(text)) is None:
            self.refusal = MalformedHeader("grpc-timeout")
        else:
            self.timeout_s = min(int(found[1]) * _UNIT_S[found[2]], _MAX_TIMEOUT_S)


def _content_length(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_LENGTH_DIGITS):
        raise StreamBroken(Code.PROTOCOL_ERROR, "content-length is no number")
    return int(text)
