"""A coroutine that begins before its task does, as the eager tasks of later Pythons do.

Guarantees: what it does until it first waits is done within `take`, in its task's name and context: `current_task` is
that task, so its time-outs and task groups work; then the task goes on with it as with any other. A cancellation that
comes between the two reaches what it waits for. What the coroutine raises ends the task as usual. Used for agents
(time_limit.py), of which many never wait: each of those would cost a turn two more rounds of the event loop.
"""

import asyncio
from asyncio import tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from agentring.process.owned_loop import OWNER, OwnedLoop


class FirstSteps:
    """The coroutine of the task (a Coroutine, registered below)."""

    __slots__ = ("_coroutine", "_is_handed_on", "_suspends", "_waited", "is_over")

    def __init__(self, coroutine: Coroutine[Any, Any, None], suspends: Callable[[], None] | None = None) -> None:
        """suspends: called whenever the coroutine waits, before anybody else's code runs; must not raise."""
        self._coroutine = coroutine
        self._suspends = suspends
        self._waited: Any = None
        """What the coroutine waits for since `take`."""
        self._is_handed_on = False
        """Whether the task knows that."""
        self.is_over = False
        """Whether `take` was all of it."""

    def take(self, task: "asyncio.Task[None]", context: Context) -> None:
        """Takes the steps up to the first wait. task: the coroutine's, which has yet to begin; context: the task's.
        Called in another task. Raises what the coroutine raises; the task then ends without an error."""
        loop, caller = asyncio.get_running_loop(), asyncio.current_task()
        assert caller is not None
        owner = context.get(OWNER)
        tasks._leave_task(loop, caller)  # documented for those who run tasks
        tasks._enter_task(loop, task)
        if isinstance(loop, OwnedLoop):
            loop.running = owner
        try:
            self._waited = context.run(self._coroutine.send, None)
        except StopIteration:
            self.is_over = True
        except BaseException:
            self.is_over = True
            raise
        finally:
            if isinstance(loop, OwnedLoop):
                loop.running = None
            tasks._leave_task(loop, task)
            tasks._enter_task(loop, caller)
        if not self.is_over and self._suspends is not None:
            self._suspends()

    def send(self, value: None) -> Any:
        """As Coroutine."""
        if self.is_over:
            raise StopIteration
        if not self._is_handed_on:
            # Also where that has come by now, and where it is a mere round of the event loop: what the coroutine itself
            # has had called soon comes before it goes on, as in any task.
            self._is_handed_on = True
            return self._waited
        return self._go_on(self._coroutine.send, value)

    def throw(self, error: Any, *more: Any) -> Any:
        """As Coroutine."""
        if self.is_over:
            raise StopIteration
        if not self._is_handed_on:
            self._is_handed_on = True
            waited = self._waited
            if asyncio.isfuture(waited):
                # As Task.cancel does once the task itself waits.
                if isinstance(error, asyncio.CancelledError) and waited.cancel(*error.args):
                    return waited
                waited._asyncio_future_blocking = False
        return self._go_on(self._coroutine.throw, error, *more)

    def close(self) -> None:
        """As Coroutine."""
        self._coroutine.close()

    def __await__(self) -> Any:
        """As Coroutine. A task sends."""
        raise NotImplementedError

    def _go_on(self, step: Callable[..., Any], *value: Any) -> Any:
        waited = step(*value)
        if self._suspends is not None:
            self._suspends()
        return waited


Coroutine.register(FirstSteps)
