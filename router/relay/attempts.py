"""Where a call goes, one node after another, the header block that each is sent, and what the next must know of the
last: where the call's stream has come to.

Guarantees that a node is tried again only where a connection had merely grown old, and that once. The walk over the
nodes itself is routing/owner.py's. Called by Call.
"""

from __future__ import annotations

from agentring import metadata
from agentring.errors import MethodNotImplemented, NodeUnreachable, SessionMoving
from agentring.http2.hpack import literal
from agentring.ids import NodeId
from agentring.rpc import messages
from router.relay.client_stream import ClientStream
from router.relay.context import RelayContext
from router.relay.grpc_framing import MARKS, NO_MARKS
from router.relay.request import Request
from router.relay.response import Answer
from router.routing import route
from router.routing.owner import AnyNode, Target, Walk
from router.routing.route import Destination, Route


class RouteAttempts:
    """The way of one call."""

    __slots__ = (
        "_about",
        "_begins_after",
        "_bound",
        "_carrier",
        "_epoch",
        "_request",
        "_retried",
        "_walk",
        "block",
        "marked",
        "method",
        "target",
    )

    def __init__(self, carrier: RelayContext, request: Request) -> None:
        """Goes nowhere yet."""
        self._carrier = carrier
        self._request: Request | None = request
        self._walk: Walk | AnyNode | None = None
        self._about: Route | None = None
        self._epoch = self._begins_after = ""
        """As the node said that took the call last, and as the first one said; empty: it did not."""
        self._retried = self._bound = False
        self.target: Target | None = None
        """The node that it goes to now; None: not known before the first message."""
        self.block = b""
        """The request's headers for it, but for the deadline."""
        self.method = request.method
        self.marked = request.method in route.REATTACHABLE
        """The call's answers begin with through_seq and acked_frame."""

    @property
    def is_known(self) -> bool:
        """Whether it was found out what the call is about."""
        return self._about is not None or self.target is not None

    def by_headers(self, request: Request) -> None:
        """Finds the first node, if the headers say enough. Raises AgentringError."""
        match route.destination(request.method, request.routing):
            case Destination.OWNER:
                if (about := route.from_headers(request.method, request.routing)) is not None:
                    self._walk_to(request, about)
            case Destination.ROUTER:
                self._go_to(request, self._carrier.own_services)
            case Destination.ANY_NODE:
                self._walk = self._carrier.lookup.any_node()
                self._go_to(request, self._walk.first())
            case Destination.NOBODY:
                raise MethodNotImplemented

    def by_first_message(self, first: bytes | None) -> None:
        """Finds the first node by the client's first message; None: there is none. Raises AgentringError."""
        request = self._request
        assert request is not None
        raw = messages.body(first, request.encoding) if first is not None else b""
        self._walk_to(request, route.from_message(request.method, request.routing, raw))

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent to a node again that may have begun with it: our nodes know a call by its stream's
        name, a turn and a task by their own. Others' services must not be asked twice."""
        return route.is_ours(self.method) and not self._bound

    @property
    def node_id(self) -> str:
        """Of the node that it goes to."""
        return self.target.node_id if self.target is not None else ""

    def bind(self) -> None:
        """It is the target's for good."""
        self._bound = True

    def again(self) -> bool:
        """Whether the same node should be tried once more, since its connection may merely have grown old."""
        first, self._retried = not self._retried, True
        return first and self.target is not None and not self._bound

    def past(self) -> None:
        """The node cannot be reached: on to the next. Raises AgentringError."""
        if self._walk is None or self.target is None or self._bound:
            raise NodeUnreachable
        self.target = self._walk.unreachable(self.target)

    def elsewhere(self) -> bool:
        """Whether there is another node that may take the session, which is the target then."""
        target = self._walk.elsewhere() if self._walk is not None else None
        if target is None:
            return False
        self.target = target
        return True

    def follow(self, trailers: Answer) -> bool:
        """Whether the node's trailers lead to another one, which is the target then. Raises AgentringError."""
        if self._walk is None:
            return False
        if (redirect := trailers.told.get(metadata.REDIRECT)) is not None:
            node_id, _, address = redirect.partition(" ")
            self.target = self._walk.redirected(Target(NodeId(node_id), address))
        elif (refusal := trailers.told.get(metadata.REFUSED)) is not None:
            self.target = self._walk.refused(refusal)
        else:
            return False
        if self._bound:
            raise SessionMoving  # where to has been learnt, but the client must send it all again
        return True

    def anew(self) -> None:
        """Begins the walk from its start. Raises NoNodes, AgentNotFound, CoordinatorUnavailable."""
        assert self._about is not None
        self._walk = self._carrier.lookup.walk(self._about.ref, self._about.agent, self._about.labels)
        self.target = None
        self.target = self._walk.first()

    def admits(self, epoch: str) -> bool:
        """Whether a node that took the call under this epoch may still answer for the session."""
        if self._about is None or not (epoch.isascii() and epoch.isdigit()):
            return True
        return self._carrier.epochs.admits(self._about.ref, int(epoch))

    def lost(self) -> None:
        """The node that took the call is gone: what was learnt of it holds no more."""
        if self._about is not None:
            self._carrier.lookup.forget(self._about.ref)

    def taken(self, told: dict[str, str]) -> bytes:
        """The node has taken the call, with these headers; what the client's headers say of the way."""
        walk, self._walk, self._request = self._walk, None, None
        if not self.marked:
            self.block, self._about = b"", None
        else:
            self._epoch = told.get(metadata.EPOCH, "")
            if not self._begins_after:
                self._begins_after = told.get(metadata.BEGINS_AFTER, "")
        if walk is None or self.target is None:
            return b""
        walk.accepted(self.target)
        return self._carrier.ring_field()

    def place(self, client: ClientStream) -> bytes:
        """The fields that tell a node where a stream that it takes over has come to: what the client was sent, and
        which of its messages come again."""
        kept = client.kept
        first, last = (1, 1) if kept.request else (kept.acked + 1, kept.handed)
        block = literal(metadata.FRAMES, f"{first} {last}")
        if self._epoch:
            block += literal(metadata.EPOCH, self._epoch)
        if self._begins_after:
            block += literal(metadata.BEGINS_AFTER, self._begins_after)
        if client.last is not NO_MARKS:
            block += literal(metadata.AFTER_SEQ, str(MARKS.unpack_from(client.last)[0]))
        return block

    def _walk_to(self, request: Request, about: Route) -> None:
        self._about = about
        self.block = request.upstream(about, self._carrier.stream_id_field(), identity=self.marked)
        self.anew()

    def _go_to(self, request: Request, target: Target) -> None:
        self.target = target
        self.block = request.upstream(None, b"", identity=False)
