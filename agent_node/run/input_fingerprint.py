"""Distinguishes an input that is sent again from another one under the same turn_id or task key."""

import hashlib

from agentring.v1 import session_pb2


def input_fingerprint(turn_input: session_pb2.Input, *more: str) -> bytes:
    """The same for equal inputs; of 32 bytes."""
    raw = turn_input.SerializeToString(deterministic=True)
    return hashlib.sha256(b"\0".join([*(part.encode() for part in more), raw])).digest()
