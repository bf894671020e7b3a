"""Runs an agent once: a turn of a session, or a task's run.

Guarantees: the run ends, by itself, by its deadline, by its bounds (text, state) or by cancellation, whatever the
agent makes of these, and its outcome is returned, not raised; an agent that never awaits still lets the node's event
loop breathe between its events, and a cancellation of its own that comes meanwhile, by a time-out say, reaches it where
it yields. One that nobody asked for fails the run. An agent that ends without having waited has run within `begin`.
Does not guarantee that an agent which blocks the loop is stopped: it costs the node its lease, and the next run is one
in a child process (agent_node/child_process). Does not write the ending event: that follows the store's commit, which
is the caller's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextvars import copy_context
from typing import Any, cast

import structlog

from agent_node.agent_errors import log_failure
from agent_node.json_values import NotJson
from agent_node.run.context import RunContext
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import TURN_DEADLINE, Completed, Failed, Outcome, new_error_id
from agent_node.run.owner import RunOwner
from agent_node.run.run_input import RunEvents, TurnInput
from agent_node.run.time_limit import BoundedRun, CancelledItself, DeadlineExceeded, Stop, TooManyAbandoned
from agent_node.run.tool_calls import detail_of
from agent_node.run.typed_state import StateTooNew
from agent_node.run.yielded_text import OutputLimit
from agent_node.step.errors import StepsFailed
from agentring.agent import Agent, AgentEvent, File, ToolArgumentInvalid
from agentring.agent.declaration import options_of
from agentring.held import hold
from agentring.ids import Epoch

_BREATHE_EVERY = 32

_log = structlog.get_logger()


async def run_agent(env: RunEnvironment, agent: Agent, turn: TurnInput, log: RunEvents, epoch: Epoch) -> Outcome:
    """Runs the agent to its end, in a child process where an earlier run has ended its node.

    Raises NodeFenced if the lease may be gone, and what its steps could not be recorded with. Cancellation: the agent
    is cancelled, what it wrote to the log stays.
    """
    if turn.deaths and env.child_runs is not None:
        outcome = await env.child_runs.run(env, turn, log, epoch)
        env.lease.check()
        return outcome
    run = AgentRun(env, agent, turn, log, epoch)
    outcome_at_once = run.begin()
    return outcome_at_once if outcome_at_once is not None else await run.wait()


class AgentRun:
    """One run in this process: `begin`, and `wait` unless that was all."""

    def __init__(self, env: RunEnvironment, agent: Agent, turn: TurnInput, log: RunEvents, epoch: Epoch) -> None:
        """log: where its events go."""
        self._env = env
        self._agent = agent
        self._turn = turn
        self._stop = Stop()
        self._run = run = RunContext(env, options_of(agent), turn, log, epoch, self._stop)
        self._owner = RunOwner(turn, run.time)
        self._completed: Completed | None = None
        self._fault: Exception | None = None
        """What is not the agent's: its last events could not be written."""
        self._bounded = BoundedRun(time=run.time, grace_s=env.limits.cancel_grace_s, agent=agent, stop=self._stop)
        self._holder = env.wait_cycles.begin(turn.ref)
        self._context = copy_context()

    def begin(self) -> Outcome | None:
        """Runs the agent as far as it goes without waiting; its outcome, if that was all. Called in a task.

        Raises NodeFenced if the lease may be gone.
        """
        self._context.run(self._own)
        try:
            has_ended = self._bounded.begin(self._code, self._context, self._run.publish_text)
        except BaseException:
            self._end()
            raise
        return self._outcome(self._bounded.ending) if has_ended else None

    async def wait(self) -> Outcome:
        """The outcome, once it has ended. Raises and Cancellation: as run_agent."""
        try:
            cause = await self._bounded.wait(self._decide_end)
        except BaseException:
            self._end()
            raise
        return self._outcome(cause)

    def _own(self) -> None:
        """What is started from here on is the run's."""
        self._owner.own()
        hold(self._holder)

    def _end(self) -> None:
        self._context.run(self._owner.end)
        self._holder.is_over = True
        self._env.wait_cycles.end(self._holder)
        self._run.end()

    async def _decide_end(self) -> None:
        """The time is over. Its steps may be those of another way from here on: the agent is asked to end."""
        ends_otherwise = self._run.failure or self._owner.error
        if self._turn.decide_end is not None and self._run.may_have_steps and ends_otherwise is None:
            await self._turn.decide_end(TURN_DEADLINE)

    def _outcome(self, cause: BaseException | None) -> Outcome:
        cause = self._run.failure or self._owner.error or cause
        try:
            if cause is None and self._completed is not None:
                # Invariant: only a run that completes says what of its state has changed: one can still be cancelled,
                # or fail, between its agent's end and here (tests/unit/agent_node/run/test_stopping.py).
                self._run.publish_changes()
                return self._completed
        finally:
            self._end()
        if self._fault is not None and cause is self._fault:
            raise self._fault
        # Invariant: past the fence a run has no outcome (tests/unit/agent_node/run/test_agent_run.py). An error of the
        # agent's says nothing of it: a NodeFenced may be its own.
        self._env.lease.check()
        # By identity: the class of an agent's error may have a hash of its own.
        reason = next((reason for kind, reason in _REASONS if type(cause) is kind), "AGENT_ERROR")
        detail = ""
        if isinstance(cause, NotJson | StateTooNew | StepsFailed):
            reason, detail = cause.reason, cause.detail
        elif type(cause) is ToolArgumentInvalid:
            reason, detail = "TOOL_ARGUMENT_INVALID", detail_of(cause)
        error_id = new_error_id()
        # Where a bound was met the traceback would show only our own frames.
        logged = cause if reason in ("AGENT_ERROR", "AGENT_CANCELLED_ITSELF") else None
        fields = {"detail": detail} if detail else {}
        log_failure("agent_failed", logged, reason=reason, error_id=error_id, **fields, **self._owner.log_fields)
        return Failed(reason, error_id, detail)

    async def _code(self) -> None:
        """All that runs code of the agent's: in its own task, which it can cancel without anybody else's being
        cancelled."""
        await self._drive()
        task = asyncio.current_task()
        assert task is not None
        if task.cancelling():
            await asyncio.sleep(0)  # a cancellation of its own that is still to come ends it here
        if self._stop.asked or self._owner.error is not None:
            return
        try:
            if self._run.may_have_steps:
                await self._run.finish_steps()
            self._completed = self._run.completed()
        except (NotJson, OutputLimit, StepsFailed):
            raise
        except Exception as fault:
            self._fault = fault
            raise

    async def _drive(self) -> None:
        run, stop, text = self._run, self._stop, self._run.text
        run.begin()
        made: AsyncIterator[AgentEvent] | Coroutine[Any, Any, Any] = self._agent(run)
        if isinstance(made, Coroutine):
            made.close()
            raise TypeError("an agent is an async generator; a coroutine function that never yields is none")
        events = aiter(made)
        task = asyncio.current_task()
        assert task is not None
        count = cancels = 0
        cancelled: asyncio.CancelledError | None = None
        try:
            while True:
                try:
                    event = await (anext(events) if cancelled is None else _thrown(events, cancelled))
                except StopAsyncIteration:
                    break
                if stop.asked:  # it has swallowed its cancellation, or its deadline's: this event is its last
                    raise asyncio.CancelledError
                cancelled = None
                if type(event) is str and run.unpublished is None:
                    text.take(event)
                elif isinstance(event, File):
                    await run.put_out(event)
                else:
                    run.take(event)
                count += 1
                if count % _BREATHE_EVERY == 0 or task.cancelling() > cancels:
                    cancelled = await _breathe(stop)
                    cancels = task.cancelling()
        finally:
            run.publish_text()  # its clean-up may raise
            # Any async iterator will do; what has nothing to close need not be closed.
            if (close := getattr(events, "aclose", None)) is not None:
                await close()


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (CancelledItself, "AGENT_CANCELLED_ITSELF"),
    (DeadlineExceeded, TURN_DEADLINE),
    (TooManyAbandoned, "AGENT_STUCK"),
    (OutputLimit, "OUTPUT_LIMIT"),
)


async def _breathe(stop: Stop) -> asyncio.CancelledError | None:
    """Lets the event loop run. What of the agent's own has cancelled it meanwhile; None: nothing has."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as cancelled:
        if stop.asked:
            raise
        return cancelled
    return None


def _thrown(events: AsyncIterator[AgentEvent], cancelled: asyncio.CancelledError) -> Awaitable[AgentEvent]:
    """Lets the cancellation come where the agent stands, at its last `yield`: there a time-out of its own becomes a
    TimeoutError, and a task group of its own ends."""
    if (throw := getattr(events, "athrow", None)) is None:
        raise cancelled
    return cast(Awaitable[AgentEvent], throw(cancelled))
