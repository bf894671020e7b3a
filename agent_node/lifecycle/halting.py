"""Stops what runs on an incarnation of the node when it is halted.

Guarantees: each turn and task run that a halt cancels is cancelled at once, those that wait in a mailbox among them,
and ends as every cancelled one does: stored, then published, with the reason HALTED. What begins later is stopped where
it would begin (run/halted_start.py). Run by the incarnation.
"""

import asyncio
from collections.abc import Awaitable

import structlog

from agent_node.halt.halts import Halts
from agent_node.log_fields import named
from agent_node.run.halted_start import HALTED
from agent_node.session.host import Host
from agent_node.task.runs import TaskRuns
from agentring.errors import AgentringError
from agentring.ids import SessionRef, TaskRef

_log = structlog.get_logger()


async def stop_halted(halts: Halts, host: Host, task_runs: TaskRuns, tasks: asyncio.TaskGroup) -> None:
    """Until cancelled. tasks: of the incarnation."""
    while True:
        # Nothing is awaited before the wait, so no change is missed.
        for session in host.sessions if halts.current is not None else ():
            if not session.all_ended and _cancels(halts, session.ref, session.stored.agent):
                tasks.create_task(_stopped(session.ref, session.cancel_all(HALTED)))
        for run in task_runs.under_way if halts.current is not None else ():
            if run.cancel_reason is None and _cancels(halts, run.ref, run.agent):
                tasks.create_task(_stopped(run.ref, task_runs.cancel(run, HALTED)))
        await halts.wait_changed()


def _cancels(halts: Halts, ref: SessionRef | TaskRef, agent: str) -> bool:
    halt = halts.find(ref, agent)
    return halt is not None and not halt.hold


async def _stopped(ref: SessionRef | TaskRef, stopping: Awaitable[None]) -> None:
    try:
        await stopping
    except AgentringError as error:  # its next owner stops it where it would begin it again
        _log.warning("halt_left_to_next_owner", reason=error.reason, **named(ref))
    except Exception:
        _log.exception("halt_failed", **named(ref))
