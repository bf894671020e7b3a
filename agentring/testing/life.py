"""The life of a node in the test's process, and its death: from one moment on no code of it goes on.

Guarantees: once a life is over, none of the tasks that were begun in it takes another step, not even to clean up, as
when a process is killed; `finally` blocks run only when the kit tidies up, after the test has looked. Where it can be
cut off: before and after each wait of the agent's code, and wherever the kit itself says (`pass_point`).

The tasks of the event loop that are begun in a life are known by a context variable, and their coroutines stand behind
a `Mortal`. Other tasks of the loop are as they were.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Protocol

from agentring.testing.location import location_of


class CutPlan(Protocol):
    """When a life is to end."""

    def ends_at(self, kind: str, number: int) -> bool:
        """Asked at each point, in their order. kind: "wait" or "resume" (around a wait of the agent's code), "begin",
        "called" or "recorded" (of a step: before its function is called, before and after its outcome is stored), "end"
        (before the end of the turn or task is stored); number: of the step, from 1; 0: it is none."""


class NeverCut:
    """Nothing ends it."""

    def ends_at(self, kind: str, number: int) -> bool:
        """As CutPlan."""
        return False


class Life:
    """Of one node."""

    def __init__(self, plan: CutPlan, number: int, run_number: int = 0, effects: list[Any] | None = None) -> None:
        """number: of the node, from 1: how many there have been in the test, or in one run of it. run_number: tells the
        runs of a test apart that have nothing in common; effects: where those of the run are noted."""
        self._plan = plan
        self.number = number
        self.run_number = run_number
        self.effects: list[Any] = [] if effects is None else effects
        self.is_over = False
        self._tidies = False
        self.died = asyncio.Event()
        self.cut = ""
        """Where it was cut off, for people."""
        self.on_death: list[Callable[[], None]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        """That have not ended. Nobody else may hold one that waits for nothing."""
        self.not_begun: list[asyncio.Future[None]] = []
        """What tasks wait for that had not begun when it was over. They begin when it is tidied up: libraries wait for
        that before they cancel a task."""
        self.generator: Any = None
        """The agent's, once it has begun."""
        self.where_in_step: Callable[[], str] = lambda: ""
        """The step that the current code is in, for people."""
        self.waits_at: Any = None
        """The coroutine of the agent's that has waited last."""

    def point(self, kind: str, describe: Callable[[], str], number: int = 0) -> bool:
        """Whether the life is over from here on. number: of the step."""
        if self.is_over:
            return not self._tidies
        if self._plan.ends_at(kind, number):
            self.die(describe())
        return self.is_over

    def die(self, cut: str) -> None:
        """It is over. cut: where, for people."""
        self.cut = cut
        self.is_over = True
        self.died.set()
        for each in self.on_death:
            each()

    async def pass_point(self, kind: str, describe: Callable[[], str], number: int = 0) -> None:
        """Returns unless the life is over; then never, until the kit tidies up."""
        if self.point(kind, describe, number):
            await asyncio.get_running_loop().create_future()

    async def tidy_up(self, main: "asyncio.Task[Any]", patience_s: float) -> None:
        """Ends what is left of it: its tasks are cancelled, and clean up as they do. The node's come first, and end the
        agents' as a node does; then what agents have left behind; then `main`, in whose group they all are."""
        self.is_over = self._tidies = True
        for future in self.not_begun:
            if not future.done():
                future.set_result(None)
        for stage in range(3):
            tasks = [task for task in self.tasks if not task.done() and self._stage(task, main) <= stage]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=patience_s)

    @staticmethod
    def _stage(task: "asyncio.Task[Any]", main: "asyncio.Task[Any]") -> int:
        coroutine: Any = task.get_coro()
        return 2 if task is main else int(isinstance(coroutine, Mortal) and coroutine.is_agents)

    @property
    def is_frozen(self) -> bool:
        """Whether its tasks take no steps."""
        return self.is_over and not self._tidies


LIFE: ContextVar[Life | None] = ContextVar("agentring_testing_life", default=None)
"""Of the node that the current code runs on."""


class Mortal:
    """The coroutine of a task that is begun in a life (a Coroutine, registered below)."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], life: Life, *, is_agents: bool) -> None:
        """is_agents: whether it is the agent's code, or what that has begun."""
        self._coroutine = coroutine
        self._life = life
        self.is_agents = is_agents
        self._has_waited = False
        self._kept_back: Any = None
        """What it waits for in truth, where its task waits for nothing because the life is over."""

    def send(self, value: Any) -> Any:
        """As Coroutine."""
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """As Coroutine."""
        waited, life = self._kept_back, self._life
        if not life.is_frozen and waited is not None:
            self._kept_back = None
            # As Task.cancel does, had the task waited for it.
            if isinstance(error[0], asyncio.CancelledError) and waited.cancel():
                return waited
            waited._asyncio_future_blocking = False
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        """As Coroutine."""
        self._coroutine.close()

    def __await__(self) -> Any:
        """As Coroutine. A task sends."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # cr_frame and the like, which libraries look at

    def _step(self, step: Callable[..., Any], *value: Any) -> Any:
        life = self._life
        if life.is_frozen or (self._has_waited and self._ends("resume")):
            never = _never()
            if not self._has_waited:
                life.not_begun.append(never)
            return never
        waited = step(*value)
        self._has_waited = True
        if self.is_agents:
            life.waits_at = self._coroutine
        if life.is_frozen or self._ends("wait"):
            self._kept_back = waited if asyncio.isfuture(waited) else None
            return _never()
        return waited

    def _ends(self, kind: str) -> bool:
        return self.is_agents and self._life.point(kind, lambda: self._describe(kind))

    def _describe(self, kind: str) -> str:
        where = location_of(self._coroutine, self._life.generator)
        return f"{'while it waited' if kind == 'wait' else 'when it had waited'} at {where}{self._life.where_in_step()}"


Coroutine.register(Mortal)


def _never() -> "asyncio.Future[None]":
    """What a task waits for that is not to go on."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future._asyncio_future_blocking = True  # as Future.__await__ does
    return future
