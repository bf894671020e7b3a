"""Runs an agent once: a turn of a session, or a task's run.

Guarantees: the run ends, by itself, by its deadline, by its bounds (text, state) or by cancellation, whatever the
agent makes of these, and its outcome is returned, not raised; an agent that never awaits still lets the node's event
loop breathe between its events, and a cancellation of its own that comes meanwhile, by a time-out say, reaches it where
it yields. One that nobody asked for fails the run. Does not guarantee that an agent which blocks the loop is stopped:
it costs the node its lease, and the next run is one in a child process (agent_node/child_process). Does not write the
ending event: that follows the store's commit, which is the caller's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from functools import partial
from typing import Any, cast

import structlog

from agent_node.agent_errors import log_failure
from agent_node.events.log import EventLog
from agent_node.json_values import NotJson
from agent_node.log_fields import named
from agent_node.run.context import RunContext
from agent_node.run.environment import RunEnvironment
from agent_node.run.next_event import END, next_event
from agent_node.run.outcome import Failed, Outcome, new_error_id
from agent_node.run.owner import RunOwner, owned
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import CancelledItself, DeadlineExceeded, Stop, TooManyAbandoned, run_bounded
from agent_node.run.yielded_text import OutputLimit
from agentring.agent import Agent, Result
from agentring.held import holding
from agentring.ids import Epoch

_BREATHE_EVERY = 32

_log = structlog.get_logger()


async def run_agent(env: RunEnvironment, agent: Agent, turn: TurnInput, log: EventLog, epoch: Epoch) -> Outcome:
    """Runs the agent to its end.

    Raises NodeFenced if the lease may be gone. Cancellation: the agent is cancelled, what it wrote to the log stays.
    """
    if turn.deaths and env.child_runs is not None:
        outcome = await env.child_runs.run(env, turn, log, epoch)
        env.lease.check()
        return outcome
    run = RunContext(env, turn, log, epoch)
    limits = env.limits
    owner = RunOwner(named(turn.ref, turn.agent, turn.turn_id, turn.attempt), run.time)
    stop = Stop()
    driving = partial(_drive, agent, run, stop)
    try:
        with owned(owner), env.wait_cycles.running(turn.ref) as holder, holding(holder):
            cause = await run_bounded(driving, time=run.time, grace_s=limits.cancel_grace_s, agent=agent, stop=stop)
            cause = owner.error or cause
            if cause is None:
                return run.completed()
    except (NotJson, OutputLimit) as error:
        cause = error
    finally:
        run.end()
    # Invariant: past the fence a run has no outcome (tests/unit/agent_node/run/test_agent_run.py). An error of the
    # agent's says nothing of it: a NodeFenced may be its own.
    env.lease.check()
    # By identity: the class of an agent's error may have a hash of its own.
    reason = next((reason for kind, reason in _REASONS if type(cause) is kind), "AGENT_ERROR")
    detail = ""
    if isinstance(cause, NotJson):
        reason, detail = cause.reason, cause.detail
    error_id = new_error_id()
    # Where a bound was met the traceback would show only our own frames.
    logged = cause if reason in ("AGENT_ERROR", "AGENT_CANCELLED_ITSELF") else None
    fields = {"detail": detail} if detail else {}
    log_failure("agent_failed", logged, reason=reason, error_id=error_id, **fields, **owner.log_fields)
    return Failed(reason, error_id, detail)


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (CancelledItself, "AGENT_CANCELLED_ITSELF"),
    (DeadlineExceeded, "TURN_DEADLINE"),
    (TooManyAbandoned, "AGENT_STUCK"),
    (OutputLimit, "OUTPUT_LIMIT"),
)


async def _drive(agent: Agent, run: RunContext, stop: Stop) -> None:
    events: AsyncIterator[str | Result] | Coroutine[Any, Any, Any] = agent(run)
    if isinstance(events, Coroutine):
        events.close()
        raise TypeError("an agent is an async generator; a coroutine function that never yields is none")
    events = aiter(events)
    task = asyncio.current_task()
    assert task is not None
    count = cancels = 0
    step: Awaitable[str | Result] = anext(events)
    try:
        while (event := await next_event(step, run.publish_text)) is not END:
            if stop.asked:  # it has swallowed its cancellation, or its deadline's: this event is its last
                raise asyncio.CancelledError
            run.take(event)
            count += 1
            if count % _BREATHE_EVERY == 0 or task.cancelling() > cancels:
                run.publish_text()
                cancelled = await _breathe(stop)
                cancels = task.cancelling()
                step = anext(events) if cancelled is None else _thrown(events, cancelled)
            else:
                step = anext(events)
    finally:
        run.publish_text()
        # Any async iterator will do; what has nothing to close need not be closed.
        if (close := getattr(events, "aclose", None)) is not None:
            await close()


async def _breathe(stop: Stop) -> asyncio.CancelledError | None:
    """Lets the event loop run. What of the agent's own has cancelled it meanwhile; None: nothing has."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as cancelled:
        if stop.asked:
            raise
        return cancelled
    return None


def _thrown(events: AsyncIterator[str | Result], cancelled: asyncio.CancelledError) -> Awaitable[str | Result]:
    """Lets the cancellation come where the agent stands, at its last `yield`: there a time-out of its own becomes a
    TimeoutError, and a task group of its own ends."""
    if (throw := getattr(events, "athrow", None)) is None:
        raise cancelled
    return cast(Awaitable[str | Result], throw(cancelled))
