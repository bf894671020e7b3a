"""What a client is sent as headers and trailers: a node's, without what is between routers and nodes, or an error's."""

import base64
from collections.abc import Sequence
from typing import Final

from agentring import metadata
from agentring.errors import AgentringError, CallCancelled, CallReset, CallShed
from agentring.http2.frames import Code
from agentring.http2.hpack import Field, block
from agentring.rpc.messages import PREFIX
from agentring.rpc.response_blocks import HEAD
from agentring.rpc.status import STATUS_DETAILS, to_status
from agentring.v1 import session_pb2
from router.relay.grpc_framing import MARKS

_INTERNAL: Final = frozenset(
    {
        *(metadata.BEGINS_AFTER, metadata.KEEPS_VALID, metadata.MOVED, metadata.NODE_SAYS, metadata.REDIRECT),
        *(metadata.REFUSED, metadata.STREAM_ID),
    }
)
_CODES: Final = frozenset(Code)

STATUS: Final = "grpc-status"


class ResponseHead:
    """A node's headers or trailers: what they say to us, and what goes on to the client."""

    __slots__ = ("fields", "forwarded", "http_status", "is_trailers", "values")

    def __init__(self, fields: Sequence[Field]) -> None:
        """fields: of one header block."""
        self.fields = fields
        self.values = {field.name: field.value for field in fields}
        self.forwarded = b"".join([field.literal for field in fields if field.name not in _INTERNAL])
        """The header block for the client: all but what is between routers and nodes."""
        pseudo = [field.value for field in fields if field.kind == "pseudo"]
        self.is_trailers = not pseudo
        self.http_status = pseudo[0] if len(pseudo) == 1 and fields[0].name == ":status" else ""
        """Empty: these are no response's headers."""

    @property
    def as_trailers(self) -> bytes:
        """The same for a client that has had its headers, where these are headers and trailers in one."""
        return b"".join(
            [
                field.literal
                for field in self.fields
                if field.name not in _INTERNAL and field.kind != "pseudo" and field.name != "content-type"
            ]
        )

    @property
    def forwarded_to_users(self) -> bytes:
        """The same for a client that is no operator: which node it was is not for him."""
        shown = [field for field in self.fields if field.name not in _INTERNAL and field.name != metadata.NODE]
        return b"".join([field.literal for field in shown])

    @property
    def says_moved(self) -> bool:
        """Whether the node says that the session goes on elsewhere, or will."""
        return metadata.MOVED in self.values

    @property
    def says_unavailable(self) -> bool:
        """Whether the node itself says that it cannot say anything of the session now."""
        return self.values.get(STATUS) == "14" and metadata.NODE_SAYS in self.values


def reset_error(code: int) -> AgentringError:
    """What a client gets for a node that has ended the call by RST_STREAM."""
    name = Code(code).name if code in _CODES else str(code)
    if code == Code.CANCEL:
        return CallCancelled(name)
    return CallShed(name) if code == Code.ENHANCE_YOUR_CALM else CallReset(name)


def error_trailers(error: AgentringError) -> bytes:
    """The trailers of a call that ends with an error."""
    details = base64.b64encode(to_status(error).SerializeToString()).rstrip(b"=").decode()
    return block(
        (
            (STATUS, str(error.code.value[0])),
            ("grpc-message", error.sentence.replace("%", "%25")),
            (STATUS_DETAILS, details),
        )
    )


def error_response(error: AgentringError) -> bytes:
    """The same for a call that has no response yet: headers and trailers in one block."""
    return HEAD + error_trailers(error)


def go_away(last: bytes, reason: str = "ROUTER_STOPPING") -> bytes:
    """The message that tells a client to open its stream anew. last: what it was sent before, or the marks of that;
    reason: as GoAway.reason."""
    through_seq, acked_frame = MARKS.unpack_from(last)
    said = session_pb2.ConverseResponse(
        through_seq=through_seq,
        acked_frame=acked_frame,
        events=[session_pb2.Event(go_away=session_pb2.GoAway(reason=reason, resume_seq=through_seq))],
    ).SerializeToString()
    return PREFIX.pack(0, len(said)) + said
