"""Words that one task says and a generator hands on.

Guarantees: a word is said once it was asked for the next one, so that nothing which follows it overtakes it, in any
attempt; no more than one word of each speaker waits; the task does not outlive the generator.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Speech(Generic[T]):
    """What is said while a call runs."""

    def __init__(self) -> None:
        """Nothing is said so far."""
        self._said: asyncio.Queue[str | None] = asyncio.Queue()
        """None: the call is over."""
        self._task: asyncio.Task[T] | None = None

    async def say(self, word: str) -> None:
        """For the task: returns when the word was handed on. An empty one is none."""
        if word:
            await self._said.put(word)
            await self._said.join()

    async def during(self, call: Callable[[], Awaitable[T]]) -> AsyncGenerator[str]:
        """What is said while the call runs, in a task of its own. Raises what it raises. The task is over when this is
        closed."""
        task = self._task = asyncio.create_task(self._run(call))
        try:
            while (word := await self._said.get()) is not None:
                yield word
                self._said.task_done()
            await asyncio.wait([task])
            task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # also where nobody asks for it any more

    @property
    def result(self) -> T:
        """What the call has returned, once `during` is at its end."""
        assert self._task is not None
        return self._task.result()

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        finally:
            self._said.put_nowait(None)
