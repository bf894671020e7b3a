"""Where the runs of `ctx.once` are kept: the interface, and the volatile store of it.

Every implementation guarantees: a row is changed in one step that compares the claim's epoch, so that nothing of an
epoch lands after something of a later one; whoever claims a key first raises the row's epoch and reads in the same step
how far the run is; an outcome is there for whoever claims the key next, in a durable store also after a crash.

Every method may raise StaleEpoch (a later owner exists) and StoreUnavailable (nobody knows whether the write landed).
"""

from dataclasses import replace
from typing import Protocol

from agent_node.store import once_records
from agent_node.store.clock import StoreClock, VolatileClock
from agent_node.store.once_records import OPEN, Change, Ending, OnceOwnership, StoredRun
from agentring.errors import StaleEpoch
from agentring.ids import OnceRef, TenantId
from agentring.v1 import task_pb2
from agentring.v1.task_pb2 import TASK_STATE_PENDING, TASK_STATE_RUNNING


class OnceStore(Protocol):
    """The runs by key."""

    @property
    def durable(self) -> bool:
        """Whether a run's outcome outlives its node."""

    @property
    def clock(self) -> StoreClock:
        """By which its runs expire."""

    async def change(self, ownership: OnceOwnership, change: Change) -> StoredRun:
        """Raises the row's epoch and changes it (once_records: begin, end_orphan, resolve). Raises what `change` does;
        then nothing is changed. Never tried again by itself: no epoch is raised twice."""

    async def end(self, ownership: OnceOwnership, ending: Ending, keep_s: float | None) -> None:
        """Keeps how the run of this epoch ended; again: changes nothing. keep_s: for how long; None: until it is
        resolved, or run again."""

    async def read(self, ref: OnceRef) -> StoredRun | None:
        """The key's latest run, which may have expired; None: there is none."""

    async def list_runs(
        self, tenant: TenantId, prefix: str, after_key: str, state: task_pb2.TaskState.ValueType, limit: int
    ) -> list[StoredRun]:
        """A tenant's runs in the order of their keys, after a key, without their results. state: UNSPECIFIED:
        in any."""

    async def open_runs(self, after: OnceRef | None, limit: int) -> list[StoredRun]:
        """Runs of all tenants that have not ended and of which somebody should know, in the order of their names."""

    async def expire_ended(self) -> int:
        """Forgets runs whose retention is over, some at a time; how many."""


class MemoryOnceStore:
    """The runs of one node alone, as long as it holds their keys."""

    durable = False

    def __init__(self, clock: StoreClock | None = None) -> None:
        """Empty. clock: None: the machine's own."""
        self.clock = clock or VolatileClock()
        self._rows: dict[OnceRef, StoredRun] = {}

    async def change(self, ownership: OnceOwnership, change: Change) -> StoredRun:
        """As OnceStore."""
        row = self._rows.get(ownership.ref)
        if row is not None and row.epoch >= ownership.epoch:
            raise StaleEpoch
        row = self._rows[ownership.ref] = change(row, self.clock.now())
        return row

    async def end(self, ownership: OnceOwnership, ending: Ending, keep_s: float | None) -> None:
        """As OnceStore."""
        row = self._rows.get(ownership.ref)
        if row is None or (row.epoch, row.owner) != (ownership.epoch, ownership.owner):
            raise StaleEpoch
        if row.state == TASK_STATE_RUNNING:
            self._rows[ownership.ref] = once_records.ended(row, ending, self.clock.now(), keep_s)
        elif row.state != ending.state:
            raise StaleEpoch

    async def read(self, ref: OnceRef) -> StoredRun | None:
        """As OnceStore."""
        return self._rows.get(ref)

    async def list_runs(
        self, tenant: TenantId, prefix: str, after_key: str, state: task_pb2.TaskState.ValueType, limit: int
    ) -> list[StoredRun]:
        """As OnceStore."""
        found = [
            row
            for ref, row in self._rows.items()
            if ref.tenant == tenant
            and ref.task_key.startswith(prefix)
            and ref.task_key > after_key
            and state in (task_pb2.TASK_STATE_UNSPECIFIED, row.state)
        ]
        found = sorted(found, key=lambda row: row.ref.task_key)[:limit]
        return [replace(row, ending=replace(row.ending, result_json="")) for row in found]

    async def open_runs(self, after: OnceRef | None, limit: int) -> list[StoredRun]:
        """As OnceStore."""
        found = [row for row in self._rows.values() if row.state in OPEN and row.expires_ns is None]
        after_name = (after.tenant, after.task_key) if after is not None else ("", "")
        found = [row for row in found if (row.ref.tenant, row.ref.task_key) > after_name]
        return sorted(found, key=lambda row: (row.ref.tenant, row.ref.task_key))[:limit]

    async def expire_ended(self) -> int:
        """As OnceStore. What was put back is nobody's concern here: its claim was given up."""
        now = self.clock.now()
        gone = [ref for ref, row in self._rows.items() if row.has_expired(now) or row.state == TASK_STATE_PENDING]
        for ref in gone:
            del self._rows[ref]
        return len(gone)
