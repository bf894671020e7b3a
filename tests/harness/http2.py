"""A router's data plane without sockets: clients and nodes played by h2, an independent implementation of HTTP/2.

`Wire` couples them with the real calls, ring and budget; nothing moves but by `settle`, which carries bytes in both
directions until nobody has any. An h2 peer raises where what it is sent breaks the protocol or overruns its windows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from agentring.ids import parse_session
from harness.fired_clock import FiredClock
from harness.http2_peers import ClientPeer, NodePeer
from harness.http2_raw import RawClient, RawNode
from harness.memberships import FixedView, node
from router.relay.call_events import CallEvents
from router.relay.call_routing import CallRouting
from router.relay.context import RelayContext
from router.relay.node_connection import NodeConnection
from router.relay.pings import PingPolicy
from router.routing.epochs import Epochs
from router.routing.owner import OwnerLookup, Target
from router.stats import Stats

OWN_SERVICES = Target("own", "unix:own")  # type: ignore[arg-type]


class FakePool:
    """As NodePool; connections to nodes are there at once, but for those that a test holds back."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.held: set[str] = set()
        """Nodes that calls must wait for."""
        self.waiting: list[tuple[str, CallEvents]] = []
        self.asked: list[str] = []
        """Every node that a call went to, in order."""

    def connect(self, target: Target, call: CallEvents) -> NodeConnection | None:
        self.asked.append(target.node_id)
        if target.node_id in self.held:
            self.waiting.append((target.node_id, call))
            return None
        for peer in self._wire.nodes.get(target.node_id, []):
            if peer.connection.has_room:
                return peer.connection
        return self._wire.add_node(target.node_id).connection

    def release(self, node_id: str, *, connected: bool) -> None:
        """Tells the calls that wait for a node what became of it."""
        self.held.discard(node_id)
        waiting, self.waiting = self.waiting, []
        for name, call in waiting:
            if name != node_id:
                self.waiting.append((name, call))
            elif connected:
                if node_id not in self._wire.nodes:
                    self._wire.add_node(node_id)
                call.connected()
            else:
                call.not_connected(was_reached=False)


class Wire:
    """One router's calls, its clients and its nodes."""

    def __init__(
        self,
        *nodes: str,
        limits: Limits | None = None,
        max_buffered_bytes: int = 1 << 30,
        node_settings: dict[int, int] | None = None,
    ) -> None:
        """nodes: the members, `a` alone if none is named; limits: None: no call waits for its session's next owner;
        node_settings: SETTINGS of all nodes."""
        self.limits = limits or Limits(reattach_timeout_s=0)
        self.clock = FiredClock()
        self.budget = Budget(max_buffered_bytes)
        self.view = FixedView(*map(node, nodes or ("a",)))
        self.lookup = OwnerLookup(self.view, 100)
        self.pool = FakePool(self)
        routing = CallRouting(self.lookup, self.view, OWN_SERVICES, Epochs(100))
        self.context = RelayContext(routing, self.pool, self.limits, self.budget, self.clock, Stats())
        self.node_settings = node_settings or {}
        self.clients: list[ClientPeer] = []
        self.nodes: dict[str, list[NodePeer]] = {}
        self._ping_policies: defaultdict[str, PingPolicy] = defaultdict(PingPolicy)

    def client(self, settings: dict[int, int] | None = None) -> ClientPeer:
        """A client that has connected and agreed on settings."""
        peer = ClientPeer(self.context, self.clock, settings or {})
        self.clients.append(peer)
        self.settle()
        return peer

    def raw_client(self, opening: bytes | None = None) -> RawClient:
        """A client that sends what the test likes; opening: None: what is due."""
        return RawClient(self.context, self.clock, opening)

    def raw_node(self, settings: bytes | None = None) -> RawNode:
        """A node's connection that has no call yet; settings: None: what is due."""
        return RawNode(self.limits, self.budget, self.clock, settings)

    def add_node(self, name: str, settings: dict[int, int] | None = None) -> NodePeer:
        """One more connection to a node, ready."""
        sent = self.node_settings if settings is None else settings
        peer = NodePeer(name, self.limits, self.budget, self.clock, sent, self._ping_policies[name])
        self.nodes.setdefault(name, []).append(peer)
        while peer.exchange():
            pass
        assert peer.connection.ready
        return peer

    def node(self, name: str = "a") -> NodePeer:
        """The latest connection to a node."""
        return self.nodes[name][-1]

    @property
    def peers(self) -> list[ClientPeer | NodePeer]:
        return [*self.clients, *(peer for peers in self.nodes.values() for peer in peers)]

    def settle(self) -> None:
        """Carries bytes until nobody has any."""
        progressed = True
        while progressed:
            progressed = False
            for peer in self.peers:
                progressed = peer.exchange() or progressed

    def close(self) -> None:
        """Every socket is lost."""
        for peer in self.peers:
            peer.lose()
        assert not self.context.registry.calls
        assert not self.context.registry.waiting
        assert self.budget.used_bytes == 0
        assert len(self.budget) == 0
        assert self.clock.waiting == 0

    def order(self, session: str = "s") -> list[str]:
        """The nodes in the order in which a new session's call tries them."""
        key = parse_session("", session).ring_key
        return [each.node_id for each in self.view.ring.candidates(key)]


def cut(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    """The bytes in pieces of these sizes, then the rest."""
    pos = 0
    for size in sizes:
        if pos >= len(data):
            return
        yield data[pos : pos + max(1, size)]
        pos += max(1, size)
    if pos < len(data):
        yield data[pos:]
