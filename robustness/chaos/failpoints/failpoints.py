"""Failpoints: where a node can be made to stand still, and a wall clock that jumps. Put in place by altered.py.

A failpoint is armed by the node's trigger file, which holds the name of a point, or nothing for any. The process that
gets there next removes the file and stops itself (SIGSTOP); whoever made the file lets it go on.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Connection

from agent_node.session.fenced_writer import FencedWriter
from agent_node.store.database.group_commit import Take
from agent_node.store.database.postgres import PostgresDriver
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.session_records import Ownership, StoredSession
from agent_node.store.sql import session_at_once as at_once
from agent_node.store.sql import session_transactions as transactions
from agent_node.store.sql import task_transactions
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.sql.tasks import SqlTaskStore
from agent_node.task.runner import TaskRunner
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.lease import Lease

_HOUR_S = 3_600
_NEAR = 3
"""So many frames above the lease's check is who asked for it."""

TASK_STEPS = (
    "task-asked-for",
    "task-accepted",
    "task-claimed",
    "task-started",
    "task-run",
    "task-ended",
    "task-published",
)
"""The points of in_task: before and after PENDING, after the claim, after RUNNING, before and after the end is stored,
and after it was told, before the key is given up."""
TASK_END_SENT = "task-end-sent"
_STOPS_S = 0.05


def before_write(trigger: Path) -> None:
    """The fence was checked, the write to the store comes next. Points: parts of the name of the function that writes
    (`start_tool`, `accept`, `_end`, in agent_node/session), which enters the FencedWriter for it."""
    check = Lease.check

    def stopping(self: Lease) -> None:
        check(self)
        entering = _caller(FencedWriter.__aenter__)
        if entering is not None and entering.f_back is not None:
            stop_if_armed(trigger, entering.f_back.f_code.co_qualname)

    replace(Lease, "check", stopping)


def in_renewal(trigger: Path) -> None:
    """A renewal's answer has come, and has not been counted yet."""
    keep_alive = EtcdClient.keep_alive

    async def stopping(self: EtcdClient, lease_id: int, *, timeout_s: float, patience_s: float | None = None) -> int:
        ttl_s = await keep_alive(self, lease_id, timeout_s=timeout_s, patience_s=patience_s)
        stop_if_armed(trigger, "renewal")
        return ttl_s

    replace(EtcdClient, "keep_alive", stopping)


def in_transaction(trigger: Path) -> None:
    """Epoch and owner were compared and the row is locked; the transaction goes on from there."""
    assert_owned = transactions.assert_owned

    def stopping(*args: Any, **kwargs: Any) -> tuple[int, bool]:
        owned = assert_owned(*args, **kwargs)
        stop_if_armed(trigger, "transaction")
        return owned

    replace(transactions, "assert_owned", stopping)
    for name in ("accept_turn", "update_turns"):  # one statement has no middle
        replace(at_once, name, lambda *_args, **_kwargs: None)


def before_activate(trigger: Path) -> None:
    """A session was claimed, and its epoch is about to be raised."""
    activate = SqlStore.activate

    async def stopping(self: SqlStore, ownership: Ownership, agent: str) -> StoredSession:
        stop_if_armed(trigger, "activate")
        return await activate(self, ownership, agent)

    replace(SqlStore, "activate", stopping)


def in_task(trigger: Path) -> None:
    """Between any two steps of a task's life, TASK_STEPS, and TASK_END_SENT."""
    _around(SqlTaskStore, "accept", trigger, "task-asked-for", "task-accepted")
    _around(SqlTaskStore, "start", trigger, "task-claimed", "task-started")
    _around(SqlTaskStore, "end", trigger, "task-run", "task-ended")
    _around(TaskRunner, "release", trigger, "task-published", "")
    _before_commit(trigger)


def _before_commit(trigger: Path) -> None:
    """A task's end is on its way to the store, which is not locked yet: it is sent whatever becomes of the node. Point:
    TASK_END_SENT."""
    transact = PostgresDriver.transact

    async def unfenced(self: PostgresDriver, work: Any, **options: Any) -> Any:
        if getattr(work, "func", None) is not task_transactions.end:
            return await transact(self, work, **options)
        stop_if_armed(trigger, TASK_END_SENT)
        # SQLite's writer does so by itself: the fence cancels who waits, and not what was handed over.
        sent = asyncio.ensure_future(transact(self, work, **options))
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
        await asyncio.wait([sent])
        return sent.result()

    replace(PostgresDriver, "transact", unfenced)
    commit = SqliteDriver._commit

    def stopping(self: SqliteDriver, take: Take[Connection]) -> Any:
        works = take()  # before the lock is had, or the fence would take back what waits for it
        if any(getattr(work, "func", None) is task_transactions.end for work in works):
            stop_if_armed(trigger, TASK_END_SENT)
        return commit(self, lambda: works)

    replace(SqliteDriver, "_commit", stopping)


def _around(owner: Any, name: str, trigger: Path, before: str, after: str) -> None:
    step = getattr(owner, name)

    async def stopping(*args: Any, **kwargs: Any) -> Any:
        stop_if_armed(trigger, before)
        done = await step(*args, **kwargs)
        stop_if_armed(trigger, after)
        return done

    replace(owner, name, stopping)


def wall_clock(trigger: Path) -> None:
    """The wall clock is an hour ahead while the trigger file is there. (As libfaketime does it, but only for Python's
    own readings of time.time and time.time_ns, which are all that the node has.)"""
    wall_s, wall_ns = time.time, time.time_ns
    replace(time, "time", lambda: wall_s() + _HOUR_S * trigger.exists())
    replace(time, "time_ns", lambda: wall_ns() + _HOUR_S * 10**9 * trigger.exists())


FAILPOINTS: dict[str, Callable[[Path], None]] = {
    "before-write": before_write,
    "in-renewal": in_renewal,
    "in-transaction": in_transaction,
    "before-activate": before_activate,
    "in-task": in_task,
    "wall-clock": wall_clock,
}


def stop_if_armed(trigger: Path, point: str) -> None:
    """Stops this process if the trigger file names the point, or none."""
    try:
        armed = bool(point) and trigger.read_text() in point
    except FileNotFoundError:
        return
    if armed:
        trigger.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(_STOPS_S)  # the signal is the whole process's, and may reach this thread last


def replace(owner: Any, name: str, value: Any) -> None:
    """Puts another value in the place of one that is there."""
    assert hasattr(owner, name), name
    setattr(owner, name, value)


def _caller(function: Callable[..., Any]) -> FrameType | None:
    """The function's frame, if it asked for what the failpoint is put around."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_NEAR):
        if frame is None or frame.f_code is function.__code__:
            return frame
        frame = frame.f_back
    return None
