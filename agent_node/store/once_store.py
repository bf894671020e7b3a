"""Where the runs of `ctx.once` are kept: the interface.

Every implementation guarantees: a row is changed in one step that compares the claim's epoch, so that nothing of an
epoch lands after something of a later one; whoever claims a key first raises the row's epoch and reads in the same step
how far the run is; an outcome is there for whoever claims the key next, in a durable store also after a crash.

Every method may raise StaleEpoch (a later owner exists) and StoreUnavailable (nobody knows whether the write landed).
"""

from typing import Protocol

from agent_node.store.clock import StoreClock
from agent_node.store.once_records import Change, Ending, OnceOwnership, StoredRun
from agentring.ids import OnceRef, TenantId
from agentring.v1 import task_pb2


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
        """Keeps how the run of this epoch ended; a second time changes nothing. keep_s: for how long; None: until it is
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
