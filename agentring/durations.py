"""Seconds, as the wire has them and as programs do."""

from google.protobuf.duration_pb2 import Duration


def to_duration(seconds: float) -> Duration:
    """To the nanosecond. Raises ValueError, OverflowError: it is no number of seconds."""
    whole, nanos = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def to_seconds(duration: Duration) -> float:
    """Of what the wire has."""
    return float(duration.seconds + duration.nanos / 1e9)
