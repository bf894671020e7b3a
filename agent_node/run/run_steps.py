"""The steps of a run, as its agent sees them: the part of its Context that is recorded.

Guarantees: no step begins once the node may have lost its lease, after the run's end, or while a question is open.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

from agent_node.run.environment import RunEnvironment
from agent_node.run.publication import RunPublication
from agent_node.run.republished import Republished
from agent_node.run.run_gate import RunGate
from agent_node.run.run_input import TurnInput
from agent_node.run.run_log import RunLog
from agent_node.run.steps_failure import StepsFailure
from agent_node.run.time_limit import PausableDeadline, Stop
from agent_node.step import values
from agent_node.step.agent_storage import AgentStorage
from agent_node.step.errors import StepsFailed
from agent_node.step.function import StepCall, StepOptions
from agent_node.step.step_run import StepRun
from agent_node.step.steps import Steps
from agent_node.step.stream import Stream
from agentring.agent import Retry, StepStream
from agentring.ids import Epoch

NOT_TOGETHER = "ask before or after a step, not meanwhile: waiting for an answer could cut the step off"


class RunSteps:
    """Steps of one run under way. RunContext (context.py) is made of it."""

    def __init__(
        self,
        env: RunEnvironment,
        turn: TurnInput,
        log: RunLog,
        epoch: Epoch,
        stop: Stop,
        timeout_s: float,
        republished: Republished | None = None,
    ) -> None:
        """As RunContext; log: where the run's events go; timeout_s: how long it may take; republished: which of its
        events are not published again."""
        self._republished = republished
        self._settling: asyncio.Task[None] | None = None
        """Stores how far the words agree with those of an earlier attempt."""
        self._unsettled: Exception | None = None
        """What that failed with."""
        self._env = env
        self._turn = turn
        self._epoch = epoch
        self._stop = stop
        self._log = log
        self._is_asking = False
        self._steps: Steps | None = None
        """Made with the first step."""
        self._made_gate: RunGate | None = None
        self._storage: AgentStorage | None = None
        """Made with its first use."""
        self.time = PausableDeadline(timeout_s)
        self._failure = StepsFailure(self.time)

    async def step(
        self,
        name: str,
        function: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = True,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        pure: bool = False,
        returns: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As Context."""
        self._check_may_begin()
        options = StepOptions(key, idempotent, retry, timeout_s, pure, returns)
        return await self._all_steps().step(name, StepCall(function, args, kwargs), options)

    def stream_step(
        self,
        name: str,
        function: Callable[..., AsyncIterator[Any] | Awaitable[AsyncIterator[Any]]],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = True,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        pure: bool = False,
        returns: Any = None,
        **kwargs: Any,
    ) -> StepStream:
        """As Context."""
        self._check_may_begin()
        options = StepOptions(key, idempotent, retry, timeout_s, pure, returns)
        return Stream(self._all_steps(), name, StepCall(function, args, kwargs), options, self._check_may_begin)

    def scope(self, name: str, *, resumes: bool = False) -> AbstractContextManager[None]:
        """As Context."""
        return self._all_steps().scope(name, resumes=resumes)

    async def now(self) -> datetime:
        """As Context."""
        return await values.now(self._all_steps())

    def uuid(self) -> UUID:
        """As Context."""
        return values.random_uuid(self._all_steps())

    def random(self) -> float:
        """As Context."""
        return values.random_number(self._all_steps())

    @property
    def storage(self) -> AgentStorage:
        """As Context."""
        if self._storage is None:
            self._storage = AgentStorage(self._all_steps())
        return self._storage

    @property
    def failure(self) -> StepsFailed | None:
        """What the run fails with, whatever its agent makes of it."""
        return self._failure.error

    @property
    def may_have_steps(self) -> bool:
        """Whether steps of this attempt or an earlier one may be recorded."""
        return self._steps is not None or (self._turn.attempt > 1 and self._turn.steps is not None)

    @property
    def are_steps_open(self) -> bool:
        """Whether a step is under way during which no question may be asked."""
        return self._steps is not None and self._steps.are_open

    @property
    def recorded_steps(self) -> Steps | None:
        """Those of this run; None: nothing records them."""
        return None if self._turn.steps is None else self._all_steps()

    async def finish_steps(self) -> None:
        """The agent has come to its end. Raises StepsFailed, OutputLimit, and what the store raises."""
        if self._republished is not None:
            self._log.text.finish()
            self._republished.finish()
            if self._settling is not None:
                await asyncio.wait([self._settling])
            if self._unsettled is not None:
                raise self._unsettled
        await self._all_steps().finish()

    def words_differ(self) -> None:
        """As Republished.diverged."""
        steps = self._all_steps()
        self._settling = steps.tasks.create_task(self._settle(steps))

    async def _settle(self, steps: Steps) -> None:
        assert self._republished is not None
        try:
            await steps.store_published()
            self._log.check()
            self._republished.go_on()
        except Exception as error:  # the run's, and not that of all runs
            self._unsettled = error

    def end_steps(self) -> None:
        """The run is over: no step begins any more."""
        if self._steps is not None:
            self._steps.end()

    def _check_may_begin(self) -> None:
        self._log.check()
        if self._is_asking:
            raise RuntimeError(NOT_TOGETHER)

    @property
    def _gate(self) -> RunGate:
        """Made when it is first asked for: one for a run, whose slot it gives back and takes again."""
        if self._made_gate is None:
            turn, stop = self._turn, self._stop
            self._made_gate = RunGate(self._env, turn, self.time, turn.slot, lambda: stop.asked)
        return self._made_gate

    def _all_steps(self) -> Steps:
        if self._steps is None:
            if self._turn.steps is None:
                raise RuntimeError("this node records no steps")
            recorder, watch = self._turn.steps(), self._env.watch_steps
            recorder = recorder if watch is None else watch(recorder)
            stop = self._stop  # not `self`: a run would hold itself, and only the garbage collector could free it
            run = StepRun(
                self._turn.attempt,
                self._epoch,
                self._turn.idempotency_key,
                self._log.check,
                lambda: stop.asked,
                self._failure.take,
                self._env.limits.step_wait_s,
                RunPublication(self._log, recorder.mark, self._republished),
                self._gate,
                self._env.clock,
                self._env.limits.max_storage_bytes,
            )
            self._steps = Steps(recorder, run)
        return self._steps
