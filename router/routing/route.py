"""What a call is about, from its method, its metadata and, where they say nothing, its first message.

Called by the relay. Only the fields that route are looked at; whether the rest makes sense is for the node to say.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from agentring import metadata
from agentring.errors import FirstFrameNotOpen, MalformedRequest, RouteMissing
from agentring.ids import SessionRef, TaskRef, parse_once, parse_session, parse_task
from agentring.rpc.limits import MAX_HOSTED_MESSAGE_BYTES, MAX_MESSAGE_BYTES
from agentring.v1 import blob_pb2, once_pb2, session_pb2, task_pb2
from router.routing.owner import Labels

_SESSIONS = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
_TASKS = task_pb2.DESCRIPTOR.services_by_name["TaskService"]
_ONCE = once_pb2.DESCRIPTOR.services_by_name["OnceService"]
_BLOBS = blob_pb2.DESCRIPTOR.services_by_name["BlobService"]
_REQUESTS: dict[str, type[Message]] = {
    f"/{service.full_name}/{method.name}": GetMessageClass(method.input_type)
    for service in (_SESSIONS, _TASKS, _ONCE, _BLOBS)
    for method in service.methods
}
_LISTS = frozenset(
    {f"/{_SESSIONS.full_name}/ListSessions", f"/{_TASKS.full_name}/ListTasks", f"/{_ONCE.full_name}/ListRuns"}
)
_KEYED: dict[str, Callable[[str, str], TaskRef]] = {_TASKS.full_name: parse_task, _ONCE.full_name: parse_once}
"""Services whose calls are about a key, and how it is read."""
_KEPT_ROUTES = 4_096
CONVERSE = f"/{_SESSIONS.full_name}/Converse"
REATTACHABLE = frozenset(
    {f"/{_SESSIONS.full_name}/{method}" for method in ("Converse", "RunTurn", "WatchSession")}
    | {f"/{_TASKS.full_name}/{method}" for method in ("RunTask", "WatchTask")}
)
"""Methods whose every response begins with through_seq and acked_frame."""


class Destination(Enum):
    """Who answers a method."""

    ROUTER = auto()
    """The router's own services."""
    OWNER = auto()
    """The owner of the session or task."""
    ANY_NODE = auto()
    NOBODY = auto()
    """It is not for clients."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which session or task, and which agent or an empty string."""

    ref: SessionRef | TaskRef
    agent: str
    labels: Labels = ()
    """What a node must have for it to be made there."""


def destination(method: str, headers: Mapping[str, str]) -> Destination:
    """By the method's full name, `/package.Service/Method`."""
    if method in _LISTS:
        return Destination.ANY_NODE
    if method in _REQUESTS:
        return Destination.OWNER
    if method.startswith(("/grpc.", "/agentring.v1.ClusterService/", "/agentring.v1.HaltService/")):
        return Destination.ROUTER
    if method.startswith("/agentring."):
        return Destination.NOBODY
    return Destination.OWNER if metadata.SESSION_ID in headers else Destination.NOBODY


def max_message_bytes(method: str) -> int:
    """How long a message to this method may be."""
    return MAX_MESSAGE_BYTES if is_ours(method) else MAX_HOSTED_MESSAGE_BYTES


def is_ours(method: str) -> bool:
    """Whether a node or router itself serves it, and no hosted service."""
    return method.startswith(("/agentring.", "/grpc."))


def from_headers(method: str, headers: Mapping[str, str]) -> Route | None:
    """The route if the metadata name it. Raises InvalidSessionId, InvalidTaskKey, InvalidTenantId, MalformedRequest."""
    tenant, agent = headers.get(metadata.TENANT_ID, ""), headers.get(metadata.AGENT, "")
    said_labels = headers.get(metadata.NODE_LABELS, "")
    if (parse_key := _KEYED.get(_service(method))) is not None:
        key = headers.get(metadata.TASK_KEY)
        return Route(parse_key(tenant, key), agent, _labels(said_labels)) if key is not None else None
    session_id = headers.get(metadata.SESSION_ID)
    return _session_route(tenant, session_id, agent, said_labels) if session_id is not None else None


def from_message(method: str, headers: Mapping[str, str], raw: bytes) -> Route:
    """The route that the first message names. Raises MalformedRequest, FirstFrameNotOpen, RouteMissing, and as
    `from_headers`."""
    request_class = _REQUESTS.get(method)
    if request_class is None:
        raise RouteMissing
    try:
        message = request_class.FromString(raw)
    except (DecodeError, ValueError):
        raise MalformedRequest from None
    if isinstance(message, session_pb2.ConverseRequest):
        if message.WhichOneof("frame") != "open":
            raise FirstFrameNotOpen
        message = message.open
    tenant = headers.get(metadata.TENANT_ID, "")
    parse_key = _KEYED.get(_service(method))
    # Steps that run once belong to no agent.
    agent = headers.get(metadata.AGENT, "") or ("" if parse_key is parse_once else _text(message, 2))
    if not (name := _text(message, 1)):
        raise RouteMissing
    ref = parse_key(tenant, name) if parse_key is not None else parse_session(tenant, name)
    return Route(ref, agent, _labels(headers.get(metadata.NODE_LABELS, "")))


@lru_cache(_KEPT_ROUTES)
def _session_route(tenant: str, session_id: str, agent: str, labels: str) -> Route:
    """A session has many calls. Raises InvalidSessionId, InvalidTenantId, MalformedRequest."""
    return Route(parse_session(tenant, session_id), agent, _labels(labels))


def _labels(said: str) -> Labels:
    """Raises MalformedRequest."""
    if not said:
        return ()
    pairs = [pair.strip().partition("=") for pair in said.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise MalformedRequest
    return tuple((name, value) for name, _, value in pairs)


@lru_cache(256)
def _service(method: str) -> str:
    return method[1:].partition("/")[0]


def _text(message: Message, number: int) -> str:
    value = getattr(message, message.DESCRIPTOR.fields_by_number[number].name)
    assert isinstance(value, str)  # fields 1 and 2 of every request, by the wire API's rule
    return value
