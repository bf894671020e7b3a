"""What calls share to find their nodes: the owner look-up, the epochs seen, and the header fields that say so."""

from __future__ import annotations

import secrets

from agentring import metadata
from agentring.audit.calls import RelayedCalls
from agentring.http2.hpack import literal
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
    ) -> None:
        """own_services: where the router's own services are; recorder: of calls; None: nobody writes them down."""
        self.recorder = recorder
        self.lookup = lookup
        self.own_services = own_services
        self.epochs = epochs
        self._view = view
        self._ring_field = (-1, b"")
        self._streams = 0
        self._stream_prefix = literal(metadata.STREAM_ID, secrets.token_hex(8) + "0" * 16)[:-16]

    def stream_id_field(self) -> bytes:
        """The header that names a client's stream to the nodes: no two streams of any router have the same."""
        self._streams += 1
        return self._stream_prefix + f"{self._streams:016x}".encode()

    def ring_field(self) -> bytes:
        """The header that names the ring's revision to the client."""
        revision = self._view.ring.revision
        if self._ring_field[0] != revision:
            self._ring_field = (revision, literal(metadata.RING, str(revision)))
        return self._ring_field[1]
