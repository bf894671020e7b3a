"""The attacks, at full size, with what a router must make of them.

Everywhere: no neighbour's call fails, and the neighbours' p99 stays under MAX_P99_MS; for streams that are not read
within MAX_RATIO of what it was while they were.
"""

from dataclasses import dataclass

from harness.abuse import SILENT, STAYED

MAX_P99_MS = 100.0
MAX_RATIO = 1.5

CALM = "ENHANCE_YOUR_CALM"
_MIB = 1 << 20
_FLOOD_BYTES = 32 * _MIB
"""Beyond what a router has anyway: for a flood, which is to leave nothing behind."""
_CONNECTION_BYTES = 32 << 10
_CALL_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Case:
    """One attack."""

    attack: str
    size: int
    ends: frozenset[str]
    """How its connections may end (Outcome.ends); SILENT: GOAWAY stands behind what it does not read."""
    max_bytes: int = _FLOOD_BYTES
    """By how much the router's memory may grow, at its peak."""
    min_seconds: float = 0.0
    """It takes as long as this to come to its end."""
    is_relative: bool = False
    """The neighbours' p99 is compared with what it was before."""
    refused: int = 0
    """How many of its streams or connections must have been refused with CALM, or RESOURCE_EXHAUSTED."""


_CALMED = frozenset({CALM})
_LEFT = frozenset({STAYED})
MAX_CONNECTIONS = 10_500
"""Of the router that is attacked."""

_CASES = (
    Case("rapid-reset", 100_000, _CALMED),
    Case("rapid-reset-again", 100_000, _CALMED),
    Case("rapid-reset-in-limits", 100_000, _LEFT),
    Case("made-you-reset", 100_000, _CALMED),
    Case("opens", 100_000, _CALMED, max_bytes=10_000 * _CALL_BYTES),
    Case("continuations", 100_000, _CALMED),
    Case("empty-continuations", 100_000, _CALMED),
    Case("pings", 100_000, _CALMED),
    Case("unread-pings", 100_000, _CALMED),
    Case("ping-acks", 100_000, _CALMED),
    Case("settings", 100_000, _CALMED),
    Case("unread-settings", 100_000, _CALMED),
    Case("empty-data", 100_000, _CALMED),
    Case("priorities", 100_000, _CALMED),
    Case("unknown-frames", 100_000, _CALMED),
    Case("window-updates", 100_000, _CALMED),
    Case("stream-window-updates", 100_000, _CALMED),
    Case("unread-answers", 300_000, _CALMED | {SILENT}),
    Case("window-flips", 2_000, _LEFT),
    Case("abandoned-streams", 2_000, _LEFT),
    Case("idle-connections", 10_000, _LEFT, max_bytes=10_000 * _CONNECTION_BYTES),
    Case("too-many-connections", 11_000, _LEFT | _CALMED, max_bytes=11_000 * _CONNECTION_BYTES, refused=400),
    Case("slow-preface", 500, frozenset({"SETTINGS_TIMEOUT"}), min_seconds=12),
    Case("slow-headers", 500, _CALMED, min_seconds=15),
    Case("half-messages", 400, _LEFT, max_bytes=384 * _MIB, refused=100),
    Case("stuck-windows", 10, _LEFT, max_bytes=10 * 2 * _MIB, min_seconds=10, is_relative=True),
    Case("stuck-sockets", 10, _LEFT, max_bytes=10 * 2 * _MIB, min_seconds=10, is_relative=True),
)
CASES = {case.attack: case for case in _CASES}
