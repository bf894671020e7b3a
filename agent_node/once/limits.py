"""What the steps of `ctx.once` may take on a node. Used by keys.py."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OnceLimits:
    """What the steps of a node may take."""

    max_keys: int
    max_result_bytes: int
    retention_s: float
    """How long an outcome is replayed."""
    failure_s: float
    """How long a failure is everybody's, where the step may be run again."""
