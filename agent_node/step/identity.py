"""What a step is: the run's life, the step or scope that it is in, its name, its arguments or key, and its occurrence.

Guarantees: the same step of the same run has the same identity in every attempt, whatever runs beside it, as long as
equal ones begin one after the other; a step of another run, or in another place of this one, has another.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from agent_node.step.canonical import canonical

ID_BYTES = 16
QUESTION_KIND = "question"
"""Questions have no name that could be a step's."""
_NAME_BYTES = 256
_KEY_BYTES = 4 << 10


def base_of(
    parent_id: bytes,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    key: str | None,
    *,
    kind: str = "step",
) -> bytes:
    """What equal steps have in common. parent_id: of the step or scope; empty: none. key: in the arguments' place;
    kind: of a step that is recorded in another way. Raises TypeError, ValueError."""
    name = checked_name(name) if kind != QUESTION_KIND else name
    if key is None:
        by, what = b"args", canonical(args, kwargs)
    elif not isinstance(key, str):
        raise TypeError(f"a step's key is a str, not {type(key).__name__}")
    elif len(key.encode("utf-8", "surrogatepass")) > _KEY_BYTES:
        raise ValueError(f"a step's key has at most {_KEY_BYTES} bytes")
    else:
        by, what = b"key", key
    return digest(kind.encode(), parent_id, name.encode(), by, what.encode("utf-8", "surrogatepass"))


def step_id(life_id: str, base: bytes, occurrence: int) -> bytes:
    """Of the equal steps the one of this number, from 1."""
    return digest(life_id.encode(), base, str(occurrence).encode())


def scope_id(parent_id: bytes, name: str) -> bytes:
    """The parent of what is in a scope."""
    return digest(b"scope", parent_id, checked_name(name).encode())


def derived(life_id: str, parent_id: bytes, kind: str, count: int) -> bytes:
    """What a run gets in place of a random number: the same in every attempt."""
    return digest(b"derived", life_id.encode(), parent_id, kind.encode(), str(count).encode())


def checked_name(name: Any) -> str:
    """A plain str that says something, and no more than goes into a row and a log line."""
    if not isinstance(name, str):
        raise TypeError(f"a step's name is a str, not {type(name).__name__}")
    plain = str.__str__(name)
    if not plain or len(plain.encode("utf-8", "replace")) > _NAME_BYTES:
        raise ValueError(f"a step's name has 1 to {_NAME_BYTES} bytes")
    return plain.encode("utf-8", "replace").decode()


def each_id(ids: bytes) -> list[bytes]:
    """The ids of which StoredStep.outer_ids is made."""
    return [ids[begin : begin + ID_BYTES] for begin in range(0, len(ids), ID_BYTES)]


def digest(*parts: bytes) -> bytes:
    """Of the parts, each with its length, so that no two lists have one text."""
    found = blake2b(digest_size=ID_BYTES)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.digest()
