"""The volatile store of what `ctx.once` runs: in the process, of use only while this node holds the keys' claims."""

from dataclasses import replace

from agent_node.store import once_records
from agent_node.store.clock import StoreClock, VolatileClock
from agent_node.store.once_records import OPEN, Change, Ending, OnceOwnership, StoredRun
from agentring.errors import StaleEpoch
from agentring.ids import OnceRef, TenantId
from agentring.v1 import task_pb2
from agentring.v1.task_pb2 import TASK_STATE_PENDING, TASK_STATE_RUNNING


class MemoryOnceStore:
    """A OnceStore of one node alone."""

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
        """As OnceStore. A run that was requeued is not kept here: its claim was given up."""
        now = self.clock.now()
        expired = [ref for ref, row in self._rows.items() if row.has_expired(now) or row.state == TASK_STATE_PENDING]
        for ref in expired:
            del self._rows[ref]
        return len(expired)
