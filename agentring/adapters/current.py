"""The turn or task whose framework runs here: what its tools, nodes and hooks are not handed by the framework.

Holds in the tasks that are begun within it, and in threads that are begun with a copy of their context, as
`asyncio.to_thread` and the frameworks' own executors do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from agentring.agent import Context

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Current:
    ctx: Context[Any]
    loop: asyncio.AbstractEventLoop


_CURRENT: ContextVar[_Current | None] = ContextVar("agentring_current", default=None)


def current_context() -> Context[Any]:
    """The context of the turn or task that this code is a part of. Raises RuntimeError: it is of none.

    async def look_up(city: str) -> dict[str, int]:  # a tool of any framework
        return await current_context().step("look up", weather.of, city)

    It is for the event loop's thread alone, as everywhere; `in_loop` is for others.
    """
    return _current().ctx


@contextmanager
def within(ctx: Context[Any]) -> Iterator[None]:
    """What is called in the body is of this turn or task. Adapters run their framework in it; an agent that runs one by
    itself does the same:

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with within(ctx):
            yield await framework.run(ctx.input_text)
    """
    before = _CURRENT.get()
    _CURRENT.set(_Current(ctx, asyncio.get_running_loop()))
    try:
        yield
    finally:
        # Not by the token: a generator that an agent leaves open is closed in another context.
        _CURRENT.set(before)


async def in_loop(call: Callable[[], Awaitable[T]]) -> T:
    """Awaits what the call returns in the event loop of the turn, wherever this is called. Raises RuntimeError as
    `current_context`. Cancellation: it is cancelled there."""
    loop = _current().loop
    if asyncio.get_running_loop() is loop:
        return await call()
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(call), loop))


def from_thread(call: Callable[[], Awaitable[T]]) -> T:
    """As `in_loop`, for code that does not await: it waits in its thread. Raises RuntimeError also in the loop's own
    thread, which would wait for itself."""
    loop = _current().loop
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        raise RuntimeError("this waits in its thread, which is the event loop's: await the async method")
    return asyncio.run_coroutine_threadsafe(_awaited(call), loop).result()


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _current() -> _Current:
    if (current := _CURRENT.get()) is None:
        raise RuntimeError("no agent of agentring runs here: run the framework by its adapter, or in `within(ctx)`")
    return current
