"""Fixtures of the tests of conversations."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest_asyncio

from agentring.client import RetryPolicy
from harness.breaking import serving
from harness.conversations import ScriptedServer, Step, Talk, Talking, at_once


@pytest_asyncio.fixture
async def talk() -> AsyncIterator[Talking]:
    """Starts scripted servers and conversations with them."""
    ends: list[Callable[[], Awaitable[object]]] = []

    async def start(*scripts: tuple[Step, ...], reconnect_s: float = 60.0) -> Talk:
        server = ScriptedServer(*scripts)  # type: ignore[abstract]  # the other methods stay unimplemented
        served = serving(server)
        one = Talk(await served.__aenter__(), server, RetryPolicy(sleep=at_once, reconnect_s=reconnect_s))
        ends.extend((one.conversation.close, lambda: served.__aexit__(None, None, None)))
        return one

    yield start
    for end in ends:
        await end()
