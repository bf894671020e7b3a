"""What goes into and comes out of the etcd client, free of etcd's own messages."""

from dataclasses import dataclass
from typing import Literal

from agentring.ids import Revision


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as etcd holds it."""

    key: str
    value: bytes
    create_revision: Revision
    mod_revision: Revision
    lease_id: int


@dataclass(frozen=True, slots=True)
class Compare:
    """Holds if the key's create- or mod-revision is this one; revision 0: the key does not exist."""

    key: str
    field: Literal["create", "mod"]
    revision: int
    prefix: bool = False
    """It must hold of every key that begins with `key`; with revision 0: there is none."""


@dataclass(frozen=True, slots=True)
class Put:
    """Writes a key, bound to a lease; lease_id 0: to none."""

    key: str
    value: bytes
    lease_id: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes a key if it is there."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Reads a key."""

    key: str


@dataclass(frozen=True, slots=True)
class Txn:
    """IF all compares hold THEN success ELSE failure."""

    compares: tuple[Compare, ...]
    success: tuple[Put | Delete | Get, ...]
    failure: tuple[Get, ...] = ()


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did. `revision` is its own where it wrote; `gets` answers its Gets in their order."""

    succeeded: bool
    revision: Revision
    gets: tuple[KeyValue | None, ...]


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Keys at one revision."""

    revision: Revision
    kvs: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """One watch response, whole: one revision can delete many keys. `revision`: its newest change."""

    revision: Revision
    puts: tuple[KeyValue, ...]
    deletes: tuple[str, ...]
