"""What is counted of all connections of a process."""

from __future__ import annotations

from collections import Counter


class Traffic:
    """Counts, for the metrics."""

    def __init__(self) -> None:
        """All 0."""
        self.streams_refused = 0
        self.client_connections_opened = 0
        self.client_connections_refused = 0
        self.broken: Counter[tuple[str, str]] = Counter()
        """Connections that were ended for a fault, by role and why."""
        self.received_bytes: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        """By role."""
