"""A request's headers: whether HTTP/2 and gRPC allow them, what routes, and what the node is sent of them."""

import re
from collections.abc import Sequence

from agentring import metadata
from agentring.errors import MalformedRequest, MetadataTooLarge
from agentring.ids import DEFAULT_TENANT, SessionRef
from agentring.rpc.limits import MAX_METADATA_BYTES
from router.http2.frames import Code, StreamBroken
from router.http2.headers import Field, literal, name_literal, value_literal
from router.route import Route

_PSEUDO = frozenset({":method", ":scheme", ":path", ":authority"})
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_TIMEOUT_MS = 99_999_999

_SESSION = name_literal(metadata.SESSION_ID)
_TASK = name_literal(metadata.TASK_KEY)
_AGENT = name_literal(metadata.AGENT)
_STREAM = name_literal(metadata.STREAM_ID)
_TIMEOUT_NAME = name_literal("grpc-timeout")
_DEFAULT_TENANT = literal(metadata.TENANT_ID, DEFAULT_TENANT)


class Request:
    """A request's header fields, well formed. Holds what routes until the call has its node."""

    __slots__ = ("content_length", "fields", "headers", "method")

    def __init__(self, fields: Sequence[Field]) -> None:
        """Raises StreamBroken where RFC 9113 8.3 forbids them."""
        self.fields = fields
        headers: dict[str, str] = {}
        regular = False
        for field in fields:
            kind = field.kind
            if kind == "pseudo":
                if regular or field.name in headers or field.name not in _PSEUDO:
                    raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not well formed")
            else:
                regular = True
                if kind == "forbidden":
                    raise StreamBroken(Code.PROTOCOL_ERROR, "a field of HTTP/1")
            headers[field.name] = field.value
        if not (headers.get(":path") and headers.get(":method") and headers.get(":scheme")):
            raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not complete")
        self.headers = headers
        self.method = headers[":path"]
        """The RPC's full name, `/package.Service/Method`."""
        length = headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise StreamBroken(Code.PROTOCOL_ERROR, "content-length is no number")
        self.content_length = int(length) if length is not None else None

    @classmethod
    def unread(cls) -> "Request":
        """Stands for one whose headers are too long to be read."""
        names = ((":method", "POST"), (":scheme", "http"), (":path", "/"))
        return cls([Field(b"", name, value, b"", "pseudo") for name, value in names])

    @property
    def is_grpc(self) -> bool:
        """Whether a gRPC client sent it."""
        return self.headers[":method"] == "POST" and self.headers.get("content-type", "").startswith("application/grpc")

    def check_size(self) -> None:
        """As check_metadata in agentring/rpc/limits.py. Raises MetadataTooLarge."""
        size_bytes = sum(len(f.name) + len(f.value) + 32 for f in self.fields if f.kind in ("plain", "dropped"))
        if size_bytes > MAX_METADATA_BYTES:
            raise MetadataTooLarge

    def timeout_s(self) -> float | None:
        """The client's deadline. Raises MalformedRequest."""
        word = self.headers.get("grpc-timeout")
        if word is None:
            return None
        if (found := _TIMEOUT.fullmatch(word)) is None:
            raise MalformedRequest
        return int(found[1]) * _UNIT_S[found[2]]

    def upstream(self, route: Route | None, stream_id: str, *, identity: bool) -> bytes:
        """The header block for a node, but for the deadline. identity: the answer must not be compressed."""
        kinds = ("plain", "pseudo") if route else ("plain", "pseudo", "routing")
        fields = self.fields
        if identity:
            fields = [field for field in fields if field.name != "grpc-accept-encoding"]
        parts = [field.literal for field in fields if field.kind in kinds]
        if route is not None:
            parts += _routing(route, stream_id)
        return b"".join(parts)


def deadline(remaining_s: float) -> bytes:
    """The field that tells a node the time that is left."""
    ms = max(1, int(remaining_s * 1e3))
    return _TIMEOUT_NAME + value_literal(f"{ms}m" if ms <= _MAX_TIMEOUT_MS else f"{min(ms // 1000, _MAX_TIMEOUT_MS)}S")


def _routing(route: Route, stream_id: str) -> list[bytes]:
    ref = route.ref
    parts = [_STREAM, value_literal(stream_id)]
    if isinstance(ref, SessionRef):
        parts += (_SESSION, value_literal(ref.session_id))
    else:
        parts += (_TASK, value_literal(ref.task_key))
    parts.append(_DEFAULT_TENANT if ref.tenant == DEFAULT_TENANT else literal(metadata.TENANT_ID, ref.tenant))
    if route.agent.isascii() and route.agent.isprintable() and route.agent:
        parts += (_AGENT, value_literal(route.agent))
    return parts
