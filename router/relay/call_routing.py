"""What calls share to find their nodes: the owner look-up, the epochs seen, and the header fields that say so."""

from __future__ import annotations

import secrets

from agentring import metadata
from agentring.audit.calls import RelayedCalls
from agentring.http2.hpack import literal
from router.relay.access import RelayAccess
from router.routing.epochs import Epochs
from router.routing.owner import OwnerLookup, Target, View


class CallRouting:
    """Routing as calls see it."""

    def __init__(
        self,
        lookup: OwnerLookup,
        view: View,
        own_services: Target,
        epochs: Epochs,
        recorder: RelayedCalls | None = None,
        access: RelayAccess | None = None,
    ) -> None:
        """own_services: where the router's own services are; recorder: of calls; None: nobody writes them down;
        access: None: everybody may have every call."""
        self.recorder = recorder
        self.access = access
        self.lookup = lookup
        self.own_services = own_services
        self.epochs = epochs
        self._view = view
        self._ring_field = (-1, b"")
        self._streams = 0
        self._stream_prefix = secrets.token_hex(8)
        self._stream_literal = literal(metadata.STREAM_ID, self._stream_prefix + "0" * 16)[:-16]

    def stream_id_field(self) -> bytes:
        """The header that names a client's stream to the nodes: no two streams of any router have the same."""
        self._streams += 1
        return self._stream_literal + f"{self._streams:016x}".encode()

    def stream_id(self) -> str:
        """The same, as the header's value."""
        self._streams += 1
        return f"{self._stream_prefix}{self._streams:016x}"

    def incarnation(self, target: Target) -> int:
        """Of a node, as the membership has it; 0: it does not know the node at this address."""
        node = self._view.snapshot.nodes.get(target.node_id)
        return node.incarnation if node is not None and node.address == target.address else 0

    def ring_field(self) -> bytes:
        """The header that names the ring's revision to the client."""
        revision = self._view.ring.revision
        if self._ring_field[0] != revision:
            self._ring_field = (revision, literal(metadata.RING, str(revision)))
        return self._ring_field[1]
