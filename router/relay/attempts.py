"""The nodes that one call is sent to, one after another, and the header block that each of them is sent.

Guarantees that a node is tried again only where a connection had merely grown old, and that once. The search over the
nodes itself is routing/owner.py's. Called by Call.
"""

from __future__ import annotations

from agentring import metadata
from agentring.audit.calls import RelayedCalls
from agentring.auth.access import Caller
from agentring.auth.caller_fields import Pairs
from agentring.auth.identity import Identity
from agentring.errors import MethodNotImplemented, NodeUnreachable, SessionMoving
from agentring.http2 import hpack
from agentring.ids import NodeId, OnceRef, SessionRef
from agentring.rpc import messages
from router.relay.call_routing import CallRouting
from router.relay.client_stream import ClientStream
from router.relay.grpc_framing import MARKS, NO_MARKS
from router.relay.request import Request
from router.relay.response import ResponseHead
from router.routing import route
from router.routing.owner import AnyNode, Target, Walk
from router.routing.route import Destination, Route


class RouteAttempts:
    """The attempts of one call."""

    __slots__ = (
        "_begins_after",
        "_bound",
        "_caller",
        "_epoch",
        "_keeps_valid",
        "_pairs",
        "_request",
        "_retried",
        "_route",
        "_routing",
        "_walk",
        "block",
        "method",
        "reattachable",
        "target",
    )

    def __init__(self, routing: CallRouting, request: Request) -> None:
        """No node is chosen yet."""
        self._routing = routing
        self._request: Request | None = request
        self._walk: Walk | AnyNode | None = None
        self._route: Route | None = None
        self._epoch = self._begins_after = self._keeps_valid = ""
        """As the node said that accepted the call last, and as the first one said; empty: it did not."""
        self._retried = self._bound = False
        self.target: Target | None = None
        """The node that it goes to now; None: not known before the first message."""
        self.block = b""
        """The request's headers for it, but for the deadline and what `opening_block` adds."""
        self._pairs: Pairs = ()
        """What routes, where the router has to prove it."""
        self._caller: Caller | None = None
        self.method = request.method
        self.reattachable = request.method in route.REATTACHABLE
        """The call's responses begin with through_seq and acked_frame."""

    @property
    def is_routed(self) -> bool:
        """Whether it is known which session, task or node the call is for."""
        return self._route is not None or self.target is not None

    def route_by_headers(self, request: Request) -> None:
        """Finds the first node, if the headers say enough. Raises AgentringError."""
        match route.destination(request.method, request.routing):
            case Destination.OWNER:
                if (found := route.from_headers(request.method, request.routing)) is not None:
                    self._go_to_owner(request, found)
            case Destination.ROUTER:
                self._go_to(request, self._routing.own_services)
            case Destination.ANY_NODE:
                self._walk = self._routing.lookup.any_node()
                self._go_to(request, self._walk.first())
            case Destination.NOBODY:
                raise MethodNotImplemented

    def route_by_first_message(self, first: bytes | None) -> None:
        """Finds the first node by the client's first message; None: there is none. Raises AgentringError."""
        request = self._request
        assert request is not None
        raw = messages.body(first, request.encoding) if first is not None else b""
        self._go_to_owner(request, route.from_message(request.method, request.routing, raw))

    def record(self, recorder: RelayedCalls, peer: str, caller: Identity | None) -> None:
        """Writes down what the call's first message says that it is about."""
        if (found := self._route) is not None:
            ref = found.ref
            if isinstance(ref, SessionRef):
                target = f"session/{ref.session_id}"
            else:
                target = f"{'once' if isinstance(ref, OnceRef) else 'task'}/{ref.task_key}"
            recorder.named(self.method, caller, ref.tenant, target, peer)

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent to a node again that may have begun with it: our nodes know a call by its stream's
        name, a turn and a task by their own. Others' services must not be asked twice."""
        # Invariant: no method of a hosted service runs twice (tests/unit/router/relay/test_losses.py).
        return route.is_ours(self.method) and not self._bound

    @property
    def node_id(self) -> str:
        """Of the node that it goes to."""
        return self.target.node_id if self.target is not None else ""

    def bind(self) -> None:
        """It is the target's for good."""
        self._bound = True

    def retry_same_node(self) -> bool:
        """Whether the same node should be tried once more, since its connection may merely have grown old."""
        first, self._retried = not self._retried, True
        return first and self.target is not None and not self._bound

    def skip_unreachable(self) -> None:
        """The node cannot be reached: on to the next. Raises AgentringError."""
        if self._walk is None or self.target is None or self._bound:
            raise NodeUnreachable
        self.target = self._walk.unreachable(self.target)

    def skip_slow(self) -> bool:
        """Whether there is another node that may take the session, which is the target then."""
        target = self._walk.skip_slow() if self._walk is not None else None
        if target is None:
            return False
        self.target = target
        return True

    def follow(self, trailers: ResponseHead) -> bool:
        """Whether the node's trailers lead to another one, which is the target then. Raises AgentringError."""
        if self._walk is None:
            return False
        if (redirect := trailers.values.get(metadata.REDIRECT)) is not None:
            node_id, _, address = redirect.partition(" ")
            self.target = self._walk.redirected(Target(NodeId(node_id), address))
        elif (refusal := trailers.values.get(metadata.REFUSED)) is not None:
            self.target = self._walk.refused(refusal)
        else:
            return False
        if self._bound:
            raise SessionMoving  # where to has been learnt, but the client must send it all again
        return True

    def restart(self) -> None:
        """Begins the search from its start. Raises NoNodes, AgentNotFound, CoordinatorUnavailable."""
        assert self._route is not None
        self._walk = self._routing.lookup.walk(self._route.ref, self._route.agent, self._route.labels)
        self.target = None
        self.target = self._walk.first()

    def admits(self, epoch: str) -> bool:
        """Whether a node that accepted the call under this epoch may still answer for the session."""
        if self._route is None or not (epoch.isascii() and epoch.isdigit()):
            return True
        # Invariant: no node answers under an older epoch than was seen (tests/unit/router/relay/test_reattachment.py).
        return self._routing.epochs.admits(self._route.ref, int(epoch))

    def forget_owner(self) -> None:
        """The node that accepted the call is lost: what was learnt of it holds no more."""
        if self._route is not None:
            self._routing.lookup.forget(self._route.ref)

    def accepted(self, values: dict[str, str]) -> bytes:
        """The node has accepted the call, with these header fields; what the client's headers say of the routing."""
        walk, self._walk, self._request = self._walk, None, None
        if not self.reattachable:
            self.block, self._route, self._pairs = b"", None, ()
        else:
            self._epoch = values.get(metadata.EPOCH, "")
            if not self._begins_after:
                self._begins_after = values.get(metadata.BEGINS_AFTER, "")
                self._keeps_valid = values.get(metadata.KEEPS_VALID, "")
        if walk is None or self.target is None:
            return b""
        walk.accepted(self.target)
        return self._routing.ring_field()

    def opening_block(self, client: ClientStream, *, takes_over: bool) -> bytes:
        """The headers for the target, but for the deadline. takes_over: from a node that had the call before. Raises
        NotAuthenticated, SessionMoving, NodeUnreachable, as RelayAccess.fields."""
        resumed = self._resume_pairs(client) if takes_over else ()
        access = self._routing.access
        if access is None:
            return self.block + hpack.block(resumed) if resumed else self.block
        target = self.target
        assert target is not None
        pairs = (*self._pairs, *resumed)
        # Invariant: each opening has an identity that was checked again (tests/unit/router/relay/test_access.py).
        return self.block + hpack.block(
            access.fields(self._caller, self.method, pairs, target, self._routing.incarnation(target))
        )

    def _resume_pairs(self, client: ClientStream) -> Pairs:
        """The fields that tell a node where a stream that it takes over has come to: what the client was sent, and
        which of its messages are sent again."""
        replay = client.replay
        first, last = (1, 1) if replay.request else (replay.acked + 1, replay.sent_to_lost_node)
        pairs = [(metadata.FRAMES, f"{first} {last}")]
        if self._epoch:
            pairs.append((metadata.EPOCH, self._epoch))
        if self._begins_after:
            pairs.append((metadata.BEGINS_AFTER, self._begins_after))
        if self._keeps_valid:
            pairs.append((metadata.KEEPS_VALID, self._keeps_valid))
        if client.last_response is not NO_MARKS:
            pairs.append((metadata.AFTER_SEQ, str(MARKS.unpack_from(client.last_response)[0])))
        return tuple(pairs)

    def _go_to_owner(self, request: Request, found: Route) -> None:
        self._route = found
        if self._routing.access is None:
            self.block = request.node_block(found, self._routing.stream_id_field(), identity=self.reattachable)
        else:
            self._keep_provable(request, found)
        self.restart()

    def _go_to(self, request: Request, target: Target) -> None:
        self.target = target
        if self._routing.access is None:
            self.block = request.node_block(None, b"", identity=False)
        else:
            self._keep_provable(request, None)

    def _keep_provable(self, request: Request, found: Route | None) -> None:
        """Keeps what each node is sent apart from what it is sent with a proof of its own."""
        self.block = request.bare_block(identity=found is not None and self.reattachable)
        self._caller = request.caller
        named = ((metadata.STREAM_ID, self._routing.stream_id()),) if found is not None else ()
        self._pairs = (*request.routing_pairs(found), *named)
