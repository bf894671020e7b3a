"""A request's headers: whether HTTP/2 and gRPC allow them, what routes, and what the node is sent of them.

The requests of one client mostly differ in what routes alone. The rest of their fields, its `SharedFields`, is looked
at once and used again as long as the same fields come.
"""

import re
from collections.abc import Sequence
from typing import Final

from agentring import metadata
from agentring.auth.access import Caller
from agentring.auth.caller_fields import Pairs
from agentring.errors import EncodingNotSupported, MalformedHeader, MalformedRequest, MetadataTooLarge
from agentring.http2.frames import Code, StreamBroken
from agentring.http2.hpack import Field, literal, name_literal, value_literal
from agentring.ids import DEFAULT_TENANT, SessionRef
from agentring.rpc import wellformed
from agentring.rpc.request_head import ENCODINGS
from router.routing import route
from router.routing.route import Route

_LINE: Final = (":method", ":scheme", ":path")
_PSEUDO: Final = frozenset({*_LINE, ":authority"})
_NO_AUTHORITY: Final = "localhost"
"""What a node is sent where the client says nothing, as gRPC's clients do on a unix socket."""
_TE: Final = literal("te", "trailers")
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MAX_TIMEOUT_MS: Final = 99_999_999

_TIMEOUT_NAME: Final = name_literal("grpc-timeout")
_DEFAULT_TENANT: Final = literal(metadata.TENANT_ID, DEFAULT_TENANT)


class SharedFields:
    """All of a request's fields but those that route."""

    __slots__ = (
        "authorization",
        "bare_block",
        "bare_identity_block",
        "content_length",
        "fields",
        "identity_node_block",
        "is_grpc",
        "last_pseudo",
        "malformed",
        "max_message_bytes",
        "method",
        "node_block",
        "size_bytes",
        "values",
    )

    def __init__(self, fields: list[Field]) -> None:
        """Raises StreamBroken where RFC 9113 8.3 forbids them."""
        self.fields = fields
        values: dict[str, str] = {}
        pseudo = 0
        for index, field in enumerate(fields):
            if field.kind == "pseudo":
                if index > pseudo or field.name in values or field.name not in _PSEUDO:
                    raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not well formed")
                pseudo += 1
            elif field.kind == "forbidden":
                raise StreamBroken(Code.PROTOCOL_ERROR, "a field of HTTP/1")
            values[field.name] = field.value
        if not (values.get(":path") and values.get(":method") and values.get(":scheme")):
            raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not complete")
        self.last_pseudo = pseudo - 1
        """Its place."""
        self.values = values
        self.method = values[":path"]
        self.max_message_bytes = route.max_message_bytes(self.method)
        length = values.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
            raise StreamBroken(Code.PROTOCOL_ERROR, "content-length is no number")
        self.content_length = int(length) if length is not None else None
        content_type = values.get("content-type", "")
        self.is_grpc = values[":method"] == "POST" and wellformed.is_grpc(content_type)
        self.size_bytes = sum(len(f.name) + len(f.value) + 32 for f in fields if f.kind != "pseudo")
        self.malformed = wellformed.malformed(fields)
        """The name of a field that gRPC does not allow, or empty."""
        line = [field.literal for name in _LINE for field in fields if field.name == name]
        authority = literal(":authority", values.get(":authority") or values.get("host") or _NO_AUTHORITY)
        passed = [field for field in fields if field.kind == "plain" and field.name != "te"]
        head = b"".join([*line, authority, _TE])
        self.node_block = head + b"".join([field.literal for field in passed])
        self.identity_node_block = head + b"".join([f.literal for f in passed if f.name != "grpc-accept-encoding"])
        self.authorization = [field.value for field in fields if field.name == metadata.AUTHORIZATION]
        bare = [field for field in passed if field.name != metadata.AUTHORIZATION]
        self.bare_block = head + b"".join([field.literal for field in bare])
        """As node_block, without the credential."""
        self.bare_identity_block = head + b"".join([f.literal for f in bare if f.name != "grpc-accept-encoding"])


class Request:
    """A request's header fields, well formed."""

    __slots__ = ("_routing_fields", "caller", "routing", "shared")

    def __init__(self, fields: Sequence[Field], last: "Request | None") -> None:
        """last: of the same client. Raises StreamBroken where RFC 9113 8.3 forbids the fields."""
        others: list[Field] = []
        routing: list[Field] = []
        for field in fields:
            (routing if field.kind == "routing" else others).append(field)
        shared: SharedFields = (
            last.shared if last is not None and others == last.shared.fields else SharedFields(others)
        )
        if fields[shared.last_pseudo] is not others[shared.last_pseudo]:
            raise StreamBroken(Code.PROTOCOL_ERROR, "the request line is not well formed")
        self.shared: SharedFields = shared
        self._routing_fields = routing
        self.routing = {field.name: field.value for field in routing}
        """What of the metadata routes."""
        self.caller: Caller | None = None
        """Who has the call; None: nobody is asked for it, or nobody was."""

    @classmethod
    def unread(cls) -> "Request":
        """Stands for one whose headers are too long to be read."""
        names = ((":method", "POST"), (":scheme", "http"), (":path", "/"))
        return cls([Field(b"", name, value, b"", "pseudo") for name, value in names], None)

    @property
    def method(self) -> str:
        """The RPC's full name, `/package.Service/Method`."""
        return self.shared.method

    @property
    def encoding(self) -> str:
        """How its messages are compressed, where they are."""
        return self.shared.values.get("grpc-encoding", "")

    def check(self, max_list_bytes: int) -> None:
        """Whether gRPC allows the fields, and so many: as check_metadata in agentring/rpc/limits.py. Raises
        MalformedHeader, MetadataTooLarge, EncodingNotSupported."""
        if self.shared.malformed:
            raise MalformedHeader(self.shared.malformed)
        for field in self._routing_fields:
            if not (field.value.isascii() and field.value.isprintable()):
                raise MalformedHeader(field.name)
            if len(field.value) > max_list_bytes:
                raise MetadataTooLarge
        if self.shared.size_bytes > max_list_bytes:
            raise MetadataTooLarge
        if self.encoding and self.encoding not in ENCODINGS and route.is_ours(self.method):
            raise EncodingNotSupported

    def timeout_s(self) -> float | None:
        """The client's deadline. Raises MalformedRequest."""
        text = self.shared.values.get("grpc-timeout")
        if text is None:
            return None
        if (found := _TIMEOUT.fullmatch(text)) is None:
            raise MalformedRequest
        return int(found[1]) * _UNIT_S[found[2]]

    def node_block(self, route: Route | None, stream_id: bytes, *, identity: bool) -> bytes:
        """The header block for a node, but for the deadline. stream_id: the field; identity: the answer must not be
        compressed."""
        block = self.shared.identity_node_block if identity else self.shared.node_block
        routing = self._routing_fields
        if route is None:
            return block + b"".join([field.literal for field in routing])
        ref = route.ref
        if isinstance(ref, SessionRef) and self._names_session and metadata.SESSION_ID in self.routing:
            # As it came; a tenant is always said.
            parts = [block, stream_id, *[field.literal for field in routing]]
            if metadata.TENANT_ID not in self.routing:
                parts.append(_DEFAULT_TENANT)
            return b"".join(parts)
        return b"".join([block, stream_id, *_literals(route)])

    @property
    def said_tenant(self) -> str:
        """The tenant that the client names; empty: none. Two that differ are no name."""
        said = {field.value for field in self._routing_fields if field.name == metadata.TENANT_ID}
        return said.pop() if len(said) == 1 else ",".join(sorted(said))

    def admitted(self, caller: Caller) -> None:
        """It is known who has the call: it is for his tenant, whatever it says."""
        self.caller = caller
        self.routing[metadata.TENANT_ID] = caller.tenant

    def bare_block(self, *, identity: bool) -> bytes:
        """The header block for a node without what routes, and without the credential. identity: as node_block."""
        return self.shared.bare_identity_block if identity else self.shared.bare_block

    def routing_pairs(self, route: Route | None) -> Pairs:
        """What routes, each name once, for a node that has to be proved who says so."""
        if route is None:
            return tuple(self.routing.items())
        pairs = _pairs(route)
        if (labels := self.routing.get(metadata.NODE_LABELS)) is not None:
            pairs.append((metadata.NODE_LABELS, labels))
        return tuple(pairs)

    @property
    def _names_session(self) -> bool:
        """Whether what routes is said once each, and of a session."""
        return len(self.routing) == len(self._routing_fields) and metadata.TASK_KEY not in self.routing


def _literals(route: Route) -> list[bytes]:
    return [literal(name, value) for name, value in _pairs(route)]


def _pairs(route: Route) -> list[tuple[str, str]]:
    ref = route.ref
    name = (metadata.SESSION_ID, ref.session_id) if isinstance(ref, SessionRef) else (metadata.TASK_KEY, ref.task_key)
    pairs: list[tuple[str, str]] = [name, (metadata.TENANT_ID, ref.tenant)]
    if route.agent and route.agent.isascii() and route.agent.isprintable():
        pairs.append((metadata.AGENT, route.agent))
    return pairs


def deadline(remaining_s: float) -> bytes:
    """The field that tells a node the time that is left."""
    ms = max(1, int(remaining_s * 1e3))
    return _TIMEOUT_NAME + value_literal(f"{ms}m" if ms <= _MAX_TIMEOUT_MS else f"{min(ms // 1000, _MAX_TIMEOUT_MS)}S")
