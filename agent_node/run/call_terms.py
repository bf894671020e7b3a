"""What is kept with an input of the call that brought it: who called, metadata that its agent may see, and the run's
deadline.

Guarantees: what was kept is what the node let in: a client that writes such a field into its input itself has it
overwritten. An input whose call had nothing of this costs nothing and is stored as it always was; a node of a release
before passes over what was added.
"""

from dataclasses import dataclass

from agentring.durations import to_duration, to_seconds
from agentring.v1 import session_pb2, store_pb2

CallerMetadata = tuple[tuple[str, str], ...]
"""Names and values, in the order of their names."""
_TAG = b"\xc2\x3e"
"""That the field begins with."""


@dataclass(frozen=True, slots=True)
class CallTerms:
    """On what terms a turn or a task was handed in."""

    metadata: CallerMetadata = ()
    timeout_s: float = 0.0
    """The run's deadline, to the nanosecond; 0: the agent's, or else the node's."""
    subject: str = ""
    """Who called; empty: nobody was asked."""
    credential_id: str = ""
    """Of what proved it: its name, never itself."""


NO_TERMS = CallTerms()


def to_stored(input: session_pb2.Input, terms: CallTerms) -> bytes:
    """The input's bytes, as they are stored."""
    raw = input.SerializeToString()
    if terms == NO_TERMS and _TAG not in raw:
        return raw
    kept = store_pb2.CallTerms(metadata=dict(terms.metadata), subject=terms.subject, credential_id=terms.credential_id)
    if terms.timeout_s:
        kept.timeout.CopyFrom(to_duration(terms.timeout_s))
    return raw + store_pb2.StoredInput(call_terms=kept.SerializeToString(deterministic=True)).SerializeToString()


def of_stored(raw: bytes) -> CallTerms:
    """What was kept with the input."""
    if _TAG not in raw:
        return NO_TERMS
    kept = store_pb2.CallTerms.FromString(store_pb2.StoredInput.FromString(raw).call_terms)
    metadata = tuple(sorted(kept.metadata.items()))
    return CallTerms(metadata, to_seconds(kept.timeout), kept.subject, kept.credential_id)
