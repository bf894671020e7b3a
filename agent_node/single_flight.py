"""One call at a time under a name, shared by all callers that come meanwhile, and carried out to its end.

Guarantees: while a call of a name is under way no second one starts; all its callers get its outcome; a caller can go
away (a client that hangs up cancels what serves it) without ending it, for the others or half-way. Used by the
host for activations, by sessions for cancels and their end, by tasks for the starts of their runs, by steps for the
changes of their keys.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Calls under way, by name."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        """tasks: owns the calls; what a call raises goes to its callers, not to the group."""
        self._tasks = tasks
        self._under_way: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def __contains__(self, name: K) -> bool:
        """Whether one of this name is under way."""
        return name in self._under_way

    async def get(self, name: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the call under way, or of a new one. Raises what it raises.

        Cancellation: the call goes on.
        """
        return await asyncio.shield(self.begin(name, call))

    async def wait(self, name: K) -> None:
        """Returns once no call of this name is under way, however it went. Cancellation: the call goes on."""
        while (future := self._under_way.get(name)) is not None:
            await asyncio.wait([future])

    def begin(self, name: K, call: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Future[V]":
        """As `get`, to be awaited under a shield."""
        future = self._under_way.get(name)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            task = self._tasks.create_task(self._run(name, future, call))
            task.add_done_callback(partial(self._never_begun, name, future))
            self._under_way[name] = future
        return future

    async def all_ended(self) -> None:
        """Returns once none is under way, whatever became of them."""
        while self._under_way:
            await asyncio.wait(list(self._under_way.values()))

    async def _run(self, name: K, future: "asyncio.Future[V]", call: Callable[[], Coroutine[Any, Any, V]]) -> None:
        try:
            future.set_result(await call())
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:
            future.set_exception(error)
            future.exception()  # no caller may be left to get it
        finally:
            del self._under_way[name]

    def _never_begun(self, name: K, future: "asyncio.Future[V]", _: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step does not even clean up."""
        if future.cancel():
            self._under_way.pop(name, None)
