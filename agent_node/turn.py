"""Runs an agent once: a turn of a session, or a task's run.

Guarantees: the run ends, by itself, by its deadline, by its bounds (words, state) or by cancellation, whatever the
agent makes of these, and its outcome is returned, not raised; an agent that never awaits still lets the node's event
loop breathe between its events. Does not guarantee that an agent which blocks the loop is stopped: it costs the node
its lease. Does not write the ending event: that follows the store's commit, which is the caller's."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from agent_node.agent import Agent, Result
from agent_node.bounded import DeadlineMet, TooManyLetGo, run_bounded
from agent_node.event_log import EventLog
from agent_node.json_values import NotJson
from agent_node.run_environment import RunEnvironment
from agent_node.run_owner import RunOwner, named, owned
from agent_node.turn_context import Completed, OutputLimit, Run, TurnInput, new_error_id
from agentring.ids import Epoch
from agentring.v1 import session_pb2

_BREATHE_EVERY = 32

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failed:
    """The agent raised or went beyond a bound."""

    reason: str
    error_id: str

    def to_event(self) -> session_pb2.TurnFailed:
        """The ending event's body."""
        return session_pb2.TurnFailed(reason=self.reason, error_id=self.error_id)


async def run_agent(
    env: RunEnvironment, agent: Agent, given: TurnInput, log: EventLog, epoch: Epoch
) -> Completed | Failed:
    """Runs the agent to its end.

    Raises NodeFenced if the lease may be gone. Cancellation: the agent is cancelled, what it wrote to the log stays.
    """
    run = Run(env, given, log, epoch)
    limits = env.limits
    owner = RunOwner(named(given.ref, given.agent, given.turn_id, given.attempt), run.time)
    try:
        with owned(owner):
            cause = await run_bounded(
                lambda: _drive(agent, run), time=run.time, grace_s=limits.cancel_grace_s, whose=agent
            )
            cause = owner.error or cause
            if cause is None:
                return run.completed()
    except NotJson as error:
        cause = error
    finally:
        run.over = True
    env.lease.check()  # before anything is made of the agent's NodeFenced, which may also be its own
    reason = _REASONS.get(type(cause), "AGENT_ERROR")
    error_id = new_error_id()
    # Where a bound was met the traceback would show only our own frames.
    told = cause if reason == "AGENT_ERROR" else None
    _log.warning("agent_failed", reason=reason, error_id=error_id, exc_info=told, **owner.told)
    return Failed(reason, error_id)


_REASONS: dict[type[BaseException], str] = {
    DeadlineMet: "TURN_DEADLINE",
    TooManyLetGo: "AGENT_STUCK",
    OutputLimit: "OUTPUT_LIMIT",
    NotJson: "STATE_INVALID",
}


async def _drive(agent: Agent, run: Run) -> None:
    events: AsyncIterator[str | Result] | Coroutine[Any, Any, Any] = agent(run)
    if isinstance(events, Coroutine):
        events.close()
        raise TypeError("an agent is an async generator; a coroutine function that never yields is none")
    count = 0
    try:
        async for event in events:
            _raise_if_cancelled()
            run.take(event)
            count += 1
            if count % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
    finally:
        # Any async iterator will do; what has nothing to close need not be closed.
        if (close := getattr(events, "aclose", None)) is not None:
            await close()


def _raise_if_cancelled() -> None:
    """For agents that swallow their cancellation, or their deadline's: the next event is their last."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def attempts_exhausted(attempt: int) -> Failed:
    """The outcome of a turn that was cut off in every run that it was allowed."""
    error_id = new_error_id()
    _log.error("attempts_exhausted", attempts=attempt - 1, error_id=error_id)
    return Failed("ATTEMPTS_EXHAUSTED", error_id)
