"""What holds for every unit test: when it ends, so has everything that it started."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

# Plain lines: structlog's default draws every traceback with its variables, which takes longer than the tests.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])

_SETTLE_S = 1.0
"""How long what a test has ended may take to be gone (gRPC's own tasks end a little later than the call)."""


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Fails a test that leaves the log otherwise than it was: every test after it would log so, in the same process."""
    before = structlog.get_config()
    processors = [*before["processors"]]
    yield
    after = structlog.get_config()
    if after != before or after["processors"] != processors:
        structlog.configure(**{**before, "processors": processors})
        pytest.fail("structlog's configuration is not the one before")


@pytest.fixture(autouse=True)
def no_task_left(request: pytest.FixtureRequest) -> None:
    """Fails a test of coroutines that leaves a task behind. Set up first, it looks when the others have ended."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("_tasks_left")


@pytest.fixture
async def _tasks_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_SETTLE_S)
    assert not left, f"left behind: {[task.get_coro() for task in left]}"
