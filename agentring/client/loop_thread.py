"""A thread with an event loop, which the client without one runs its calls in.

Guarantees that after `end`, which takes no longer than _END_S, no task of the thread's is left, nor the thread unless a
task would not end; and that in a process which was forked with it calls raise ForkedProcess, instead of waiting for a
thread that is not there. Called by sync.py.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from agentring.client.errors import ForkedProcess, RingClosed
from agentring.client.streams import EventStream

T = TypeVar("T")

_END_S = 5.0


class LoopThread:
    """A thread that runs coroutines for other threads."""

    def __init__(self) -> None:
        """Starts it."""
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agentring-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, or what it raises; RingClosed once the loop was ended, ForkedProcess where the thread is not.
        Interrupted, it is cancelled."""
        if self.is_elsewhere:
            work.close()
            raise ForkedProcess(self._pid)
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

    @property
    def is_elsewhere(self) -> bool:
        """Whether the thread is in another process, from which this one was forked."""
        return os.getpid() != self._pid

    def leave(self, stream: EventStream) -> None:
        """Ends a stream soon. For finalizers, which may run in any thread and must not wait."""
        if self.is_elsewhere:
            return
        with suppress(RuntimeError):  # the loop has ended, and the stream with it
            self._loop.call_soon_threadsafe(stream.leave)

    def end(self) -> None:
        """Ends the thread. What still runs is cancelled."""
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_END_S)
