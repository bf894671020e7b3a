"""One activation at a time for a name, shared by all who ask for it meanwhile.

Guarantees: while an activation of a name is under way nobody starts a second one; all who asked get its outcome; who
asks can go away without ending it for the others. Used by the host for sessions.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Activations(Generic[K, V]):
    """Activations under way, by name."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        """tasks: owns the activations."""
        self._tasks = tasks
        self._under_way: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    async def get(self, name: K, activate: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the activation under way, or of a new one. Raises what it raises.

        Cancellation: the activation goes on.
        """
        future = self._under_way.get(name)
        if future is None:
            future = self._under_way[name] = asyncio.get_running_loop().create_future()
            self._tasks.create_task(self._run(name, future, activate))
        return await asyncio.shield(future)

    async def _run(self, name: K, future: asyncio.Future[V], activate: Callable[[], Coroutine[Any, Any, V]]) -> None:
        try:
            future.set_result(await activate())
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:
            future.set_exception(error)
            future.exception()  # that nobody is left to hear it is no fault
        finally:
            del self._under_way[name]
