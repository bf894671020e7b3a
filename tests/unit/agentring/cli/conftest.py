"""Fixtures of the command line's tests."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from agentring.cli.local.child import Child


@pytest_asyncio.fixture
async def children() -> AsyncIterator[list[Child]]:
    """The processes that a test starts; killed with it."""
    started: list[Child] = []
    yield started
    at_once = asyncio.Event()
    at_once.set()
    for child in started:
        await child.stop(at_once)
