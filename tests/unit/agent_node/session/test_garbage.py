"""What a turn leaves behind goes as soon as it has ended: the garbage collector of a node looks rarely, and a turn's
text may be large."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from agentring.agent import Agent, AgentEvent, Context
from harness.sessions import acting, quick

TURNS = 3


async def saying(ctx: Context) -> AsyncIterator[AgentEvent]:
    for piece in ("some ", "more ", "words"):
        yield piece


@pytest.fixture
def _kept() -> Iterator[None]:
    """What the collector finds it keeps; it does not look by itself."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def found() -> list[str]:
    """Ours among what nobody refers to but itself."""
    gc.collect()
    modules = [(type(each).__module__, type(each).__name__) for each in gc.garbage]
    return [name for module, name in modules if module.startswith(("agent_node", "agentring"))]


@pytest.mark.usefixtures("_kept")
@pytest.mark.parametrize("agent", [quick, saying])
async def test_a_turn_leaves_nothing_for_the_garbage_collector(agent: Agent) -> None:
    async with acting(agent) as actor:
        for number in range(TURNS):
            await actor.submit(f"t{number}")
            assert await actor.until_ended(f"t{number}") == ["turn_completed"]
        assert found() == []
