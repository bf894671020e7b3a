"""What all calls of a router share, as one record. Each part is used for itself; nothing is set later."""

from __future__ import annotations

from typing import Protocol

from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from agentring.rpc.clock import Clock
from router.relay.call_events import CallEvents
from router.relay.call_registry import CallRegistry
from router.relay.call_routing import CallRouting
from router.relay.loss_log import LossLog
from router.relay.node_connection import NodeConnection
from router.routing.owner import Target
from router.stats import Stats


class Connector(Protocol):
    """Where calls get their connections to nodes (node_pool.py)."""

    def connect(self, target: Target, call: CallEvents) -> NodeConnection | None:
        """A connection with room; None: `connected`, `not_connected` or `node_full` of the call will follow."""


class RelayContext:
    """The record."""

    def __init__(
        self, routing: CallRouting, nodes: Connector, limits: Limits, budget: Budget, clock: Clock, stats: Stats
    ) -> None:
        """nodes: the connections to them; limits: of clients' connections; clock: the event loop."""
        self.routing = routing
        self.nodes = nodes
        self.limits = limits
        self.budget = budget
        self.clock = clock
        self.stats = stats
        self.registry = CallRegistry()
        self.loss_log = LossLog(clock)
