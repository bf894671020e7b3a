"""Metadata of the call that brought a turn or a task, as they are kept with its input.

Guarantees: what was kept is what the node let in: a client that writes such a field into its input itself has it
overwritten. An input whose call had none costs nothing and is stored as it always was; a node of a release before
passes over what was added.
"""

from agentring.v1 import session_pb2, store_pb2

CallerMetadata = tuple[tuple[str, str], ...]
"""Names and values, in the order of their names."""
_TAG = b"\xc2\x3e"
"""That the field begins with."""


def to_stored(input: session_pb2.Input, metadata: CallerMetadata) -> bytes:
    """The input's bytes, as they are stored."""
    raw = input.SerializeToString()
    if not metadata and _TAG not in raw:
        return raw
    kept = store_pb2.CallerMetadata(metadata=dict(metadata)).SerializeToString(deterministic=True)
    return raw + store_pb2.StoredInput(caller_metadata=kept).SerializeToString()


def of_stored(raw: bytes) -> CallerMetadata:
    """What was kept with the input."""
    if _TAG not in raw:
        return ()
    kept = store_pb2.CallerMetadata.FromString(store_pb2.StoredInput.FromString(raw).caller_metadata)
    return tuple(sorted(kept.metadata.items()))
