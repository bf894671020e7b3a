"""Sessions whose Converse streams are tried."""

from collections.abc import AsyncIterator

import pytest

from agentring.agent import AgentEvent, Context
from harness.premises import Stage
from harness.sessions import Actor, acting


async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
    for character in ctx.input_text:
        yield character


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def actor() -> AsyncIterator[Actor]:
    """A session of `echoing`."""
    async with acting(echoing) as actor:
        yield actor


@pytest.fixture
async def held(stage: Stage) -> AsyncIterator[Actor]:
    """A session of `stage.held`."""
    async with acting(stage.held, mailbox_size=2) as actor:
        yield actor
