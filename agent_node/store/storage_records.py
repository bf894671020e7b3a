"""What a store keeps for `ctx.storage`: bytes by key, each in the scope of one session's or one task's life.

Session ids and task keys come back; a scope does not, so what an earlier life has left, a node of an older release say
that does not know of it, is never found by a later one.
"""

from dataclasses import dataclass

from xxhash import xxh3_64_hexdigest

from agentring.ids import SessionRef, TenantId

PAGE_KEYS = 1_000
"""That one read returns at most."""


@dataclass(frozen=True, slots=True)
class StorageScope:
    """Names the values of one session or task."""

    tenant: TenantId
    name: str


@dataclass(frozen=True, slots=True)
class StorageWrite:
    """One key's new value."""

    key: bytes
    """UTF-8, so that every database has them in one order."""
    value: bytes | None
    """None: it is removed."""


@dataclass(frozen=True, slots=True)
class StorageEntry:
    """A key that has a value."""

    key: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StorageValue:
    """A value as it was read."""

    data: bytes
    checksum: str

    @property
    def is_intact(self) -> bool:
        """Whether it is what was written."""
        return checksum_of(self.data) == self.checksum


def checksum_of(data: bytes) -> str:
    """Of a value."""
    return xxh3_64_hexdigest(data)


def session_scope(ref: SessionRef, created_ns: int) -> StorageScope:
    """created_ns: as StoredSession: no two lives of one session id have the same."""
    return StorageScope(ref.tenant, f"session/{ref.session_id}/{created_ns}")


def task_scope(tenant: TenantId, life_id: str) -> StorageScope:
    """life_id: of the task's run."""
    return StorageScope(tenant, f"task/{life_id}")


def session_of(scope: StorageScope) -> tuple[str, int] | None:
    """The session's id and created_ns; None: it is no session's."""
    kind, _, rest = scope.name.partition("/")
    session_id, _, created_ns = rest.rpartition("/")
    return (session_id, int(created_ns)) if kind == "session" else None


def life_of(scope: StorageScope) -> str | None:
    """The life_id of the task's run; None: it is none's."""
    kind, _, life_id = scope.name.partition("/")
    return life_id if kind == "task" else None
