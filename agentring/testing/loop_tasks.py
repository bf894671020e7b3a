"""Puts the tasks that are begun in a node's life behind a Mortal, as long as somebody needs that.

Guarantees: a task factory that the event loop has already goes on to make the tasks; it is the loop's own again when
nobody needs this any more.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from agentring.process.owned_loop import OWNER
from agentring.testing.life import LIFE, Mortal

_users: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


@contextmanager
def mortal_tasks() -> Iterator[None]:
    """Meanwhile tasks that are begun in a life end with it."""
    loop = asyncio.get_running_loop()
    before: Any = loop.get_task_factory()
    factory: Any = _Factory(before)
    users = _users.get(loop, 0)
    if not users:
        loop.set_task_factory(factory)
    _users[loop] = users + 1
    try:
        yield
    finally:
        _users[loop] -= 1
        factory = loop.get_task_factory()
        if not _users[loop] and isinstance(factory, _Factory):
            loop.set_task_factory(factory.before)


class _Factory:
    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **how: Any
    ) -> "asyncio.Future[Any]":
        context = how.get("context")
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            owner = OWNER.get() if context is None else context.get(OWNER)
            mortal: Any = Mortal(coroutine, life, is_agents=owner is not None)
            coroutine = mortal
        if self.before is not None:
            task = self.before(loop, coroutine, **how)
        else:
            task = asyncio.Task(coroutine, loop=loop, **how)
        if life is not None:
            life.tasks.add(task)
            task.add_done_callback(life.tasks.discard)
        return task  # type: ignore[no-any-return]
