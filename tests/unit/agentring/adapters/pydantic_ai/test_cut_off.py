"""A turn of an agent of Pydantic AI that is cut off goes on at its last finished step."""

import pytest
from pydantic_ai import Agent

from agentring.adapters.pydantic_ai import pydantic_ai_agent
from agentring.testing import AgentTest
from harness.pydantic_ai_model import ShopModel
from harness.pydantic_ai_shop import Shop

SAID = "Let me look. 4 tea ordered, milk 0"


@pytest.mark.parametrize("step", [1, 2, 3, 4])
async def test_no_finished_step_is_taken_twice(step: int) -> None:
    shop = Shop()
    async with AgentTest(pydantic_ai_agent(shop.agent)) as t:
        t.crash(after_step=step)
        t.answers("yes")
        turn = await t.turn("tea")
    assert (turn.text, turn.attempts) == (SAID, 2)
    assert len(shop.model.calls) == 3
    assert shop.ordered == ["tea"]
    assert turn.events[-1].raw.turn_completed.usage.model_calls == 3


async def test_no_wait_of_the_frameworks_is_a_place_where_something_is_lost() -> None:
    # The turn has some 190 waits.
    for wait in range(2, 180, 8):
        shop = Shop()
        async with AgentTest(pydantic_ai_agent(shop.agent)) as t:
            t.crash(at_wait=wait)
            t.answers("yes")
            turn = await t.turn("tea")
        assert (wait, turn.text, turn.attempts) == (wait, SAID, 2)
        assert len(shop.model.calls) <= 4
        assert shop.ordered == ["tea"]


async def test_it_ends_as_it_would_have_wherever_it_is_cut_off() -> None:
    agent = Agent(ShopModel(lambda heard: ["So"]), name="parrot")
    async with AgentTest(pydantic_ai_agent(agent)) as t:
        report = await t.crash_everywhere("tea")
    assert len(report.cuts) > 20
