"""A thread with an event loop, which the client without one runs its calls in.

Guarantees that after `end` neither the thread nor a task of it is left. Called by sync.py.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from agentring.client.errors import RingClosed
from agentring.client.streams import EventStream

T = TypeVar("T")


class Loop:
    """A thread that runs coroutines for other threads."""

    def __init__(self) -> None:
        """Starts it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentring-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, or what it raises; RingClosed once the loop was ended. Interrupted, it is cancelled."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise RingClosed("the connection is closed") from None
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def leave(self, stream: EventStream) -> None:
        """Ends a stream soon. For finalizers, which may run in any thread and must not wait."""
        with suppress(RuntimeError):  # the loop has ended, and the stream with it
            self._loop.call_soon_threadsafe(stream.leave)

    def end(self) -> None:
        """Ends the thread. What still runs is cancelled."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
