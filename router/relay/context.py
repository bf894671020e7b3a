"""What all calls of a router share."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from agentring import metadata
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.http2.budget import Budget
from agentring.http2.hpack import literal
from agentring.http2.limits import Limits
from router.routing.epochs import Epochs
from router.routing.owner import OwnerLookup, Target, View
from router.stats import Stats

_log = structlog.get_logger()

_MAX_LOGGED_PER_S = 10

if TYPE_CHECKING:
    from router.relay.call import Call
    from router.relay.call_end import CallEnd
    from router.relay.node_connection import NodeConnection
    from router.relay.reattachment import Reattachment


class Connector(Protocol):
    """Where calls get their connections to nodes (node_pool.py)."""

    def connect(self, target: Target, call: Call) -> NodeConnection | None:
        """A connection with room; None: the call will be told `connected` or `not_connected`."""


class Clock(Protocol):
    """What of the event loop is needed."""

    def time(self) -> float:
        """Seconds, monotonic."""

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Timer:
        """Calls back after delay seconds."""


class Timer(Protocol):
    """A call-back to come."""

    def cancel(self) -> None:
        """It does not come."""


class RelayContext:
    """The calls, and what they need."""

    def __init__(
        self,
        lookup: OwnerLookup,
        view: View,
        own_services: Target,
        limits: Limits,
        budget: Budget,
        clock: Clock,
        epochs: Epochs,
    ) -> None:
        """own_services: where the router's own services are; clock: the event loop. `upstreams` is to be set."""
        self.epochs = epochs
        self.lookup = lookup
        self.upstreams: Connector
        self.own_services = own_services
        self.limits = limits
        self.first_frame_timeout_s = limits.first_frame_timeout_s
        self.budget = budget
        self.now_s = clock.time
        self.call_later = clock.call_later
        self.stats = Stats()
        self.calls: set[CallEnd] = set()
        self.waiting: set[Reattachment] = set()
        """Those of calls that wait for their session's next owner."""
        self._view = view
        self._ring_field = (-1, b"")
        self._logged_second = self._logged = 0
        self._streams = 0
        self._stream_prefix = literal(metadata.STREAM_ID, secrets.token_hex(8) + "0" * 16)[:-16]

    def log(self, event: str, method: str, nodes: list[str]) -> None:
        """Logs what has happened to a call; of many in one second the first few."""
        second = int(self.now_s())
        if second != self._logged_second:
            self._logged_second, self._logged = second, 0
        self._logged += 1
        if self._logged <= _MAX_LOGGED_PER_S:
            _log.warning(event, method=method, nodes=nodes)

    async def membership_changed(self, snapshot: MembershipSnapshot) -> None:
        """Calls that wait for an owner try again."""
        for reattachment in list(self.waiting):
            reattachment.hurry()

    def stream_id_field(self) -> bytes:
        """The header that names a client's stream to the nodes: no two streams of any router have the same."""
        self._streams += 1
        return self._stream_prefix + f"{self._streams:016x}".encode()

    def ring_field(self) -> bytes:
        """The header that tells the client the ring's revision."""
        revision = self._view.ring.revision
        if self._ring_field[0] != revision:
            self._ring_field = (revision, literal(metadata.RING, str(revision)))
        return self._ring_field[1]
