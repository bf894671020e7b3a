"""Seconds, as the wire has them."""

from google.protobuf.duration_pb2 import Duration


def to_duration(seconds: float) -> Duration:
    """Raises ValueError, OverflowError: it is no number of seconds."""
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9) if seconds >= 0 else 0)
