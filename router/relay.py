"""The seam between the router and the path of its clients' bytes.

A relay listens for clients and carries each call to a node, asking an OwnerLookup which one, or to the router's own
services, which are one more upstream. The app knows no more of it than this.
"""

from typing import Protocol


class Relay(Protocol):
    """Serves the clients' port. Resource handling: `start`, then `stop`."""

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""

    async def start(self) -> None:
        """Takes calls. Raises CannotListen."""

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls; those under way may end within grace_s."""
