"""Mutations: a node or router with one protection taken away, for the control that the checker then goes red.

The product has no hooks for this: altered.py changes its classes before it runs. Where a protection matters only
at one moment, its mutation brings the failpoint of that moment along.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam

from agent_node.halt.halts import Halts
from agent_node.store.session_records import Ownership, StoredSession
from agent_node.store.sql import session_reads
from agent_node.store.sql import session_statements as statements
from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.session_schema import of_session, sessions
from agent_node.store.sql.sessions import SqlStore
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.lease import PATIENCES_PER_TTL, RENEWALS_PER_TTL, FenceReason, Lease
from robustness.chaos.failpoints.failpoints import before_write, in_renewal, replace, stop_if_armed
from robustness.chaos.failpoints.step_mutations import STEP_MUTATIONS
from robustness.chaos.failpoints.task_mutations import TASK_MUTATIONS
from router.routing.epochs import Epochs


def no_fence(_: Path) -> None:
    """The node never stops by itself, whatever becomes of its lease."""
    original = Lease.fence

    def check(_: Lease) -> None:
        """Lets everything through."""

    def fence(self: Lease, reason: FenceReason) -> None:
        if reason is FenceReason.REVOKED:
            original(self, reason)

    async def keep(self: Any) -> FenceReason:
        while self.reason is None:
            await self._clock.sleep(self._ttl_s / RENEWALS_PER_TTL)
            try:
                await self._etcd.keep_alive(self.lease_id, timeout_s=self._ttl_s / PATIENCES_PER_TTL)
            except EtcdError:
                continue
        assert isinstance(self.reason, FenceReason)
        return self.reason

    replace(Lease, "check", check)
    replace(Lease, "fence", fence)
    replace(Lease, "keep", keep)


def extend_late(trigger: Path) -> None:
    """A renewal extends the lease from when its answer came, however late that is."""
    in_renewal(trigger)

    original: Any = Lease._renew

    async def renew(self: Any) -> bool:
        answered = bool(await original(self))
        if answered and self.reason is None:
            self._fence_at_s = self._clock.now_s() + self._ttl_s - self.margin_s
        return answered

    replace(Lease, "_renew", renew)


def no_compare(trigger: Path) -> None:
    """The store takes a write whatever epoch and owner the session has by now."""
    before_write(trigger)
    epoch, owner = (
        (column == bindparam(name)) | (column != bindparam(name))
        for column, name in ((sessions.c.epoch, "k_epoch"), (sessions.c.owner, "k_owner"))
    )
    blind = statements.ASSERT_OWNED.statement.where()
    blind._where_criteria = (
        of_session(sessions) & epoch & owner & (sessions.c.commit_id != bindparam("new_commit_id")),
    )
    replace(statements, "ASSERT_OWNED", HotStatement(blind))


def read_before_raise(trigger: Path) -> None:
    """An activation reads the session first, and raises its epoch then."""
    before_write(trigger)
    activate = SqlStore.activate

    def read(connection: Connection, ownership: Ownership, at_most: int) -> StoredSession | None:
        session = session_reads.read_session(connection, ownership.ref)
        return session and session_reads.with_turns(connection, session, 0, at_most)

    async def swapped(self: SqlStore, ownership: Ownership, agent: str) -> StoredSession:
        seen = await self.driver.read(partial(read, ownership=ownership, at_most=self._max_history_turns))
        stop_if_armed(trigger, "activate")
        raised = await activate(self, ownership, agent)
        if seen is None:
            return raised
        kept = {name: getattr(raised, name) for name in ("epoch", "log_seq", "reserved_seq", "commit")}
        return dataclasses.replace(seen, **kept)

    replace(SqlStore, "activate", swapped)


def no_memory_of_epochs(_: Path) -> None:
    """The router passes on answers under any epoch, also one that is over."""
    replace(Epochs, "admits", lambda *_: True)


def no_halts(_: Path) -> None:
    """The node confirms halts, and goes on."""
    replace(Halts, "_settle", lambda _: None)


MUTATIONS: dict[str, Callable[[Path], None]] = {
    "no-fence": no_fence,
    "extend-late": extend_late,
    "no-compare": no_compare,
    "read-before-raise": read_before_raise,
    "no-memory-of-epochs": no_memory_of_epochs,
    "no-halts": no_halts,
    **TASK_MUTATIONS,
    **STEP_MUTATIONS,
}
