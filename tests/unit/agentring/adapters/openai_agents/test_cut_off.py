"""A turn of an SDK's agent that is cut off goes on at its last finished step."""

import pytest
from agents import Agent

from agentring.adapters.openai_agents import openai_agents_agent
from agentring.testing import AgentTest
from harness.sdk_model import SdkModel
from harness.sdk_shop import Shop


@pytest.mark.parametrize("step", [1, 2, 3, 4])
async def test_no_finished_step_is_taken_twice(step: int) -> None:
    shop = Shop()
    async with AgentTest(openai_agents_agent(shop.agent)) as t:
        t.crash(after_step=step)
        t.answers("yes")
        turn = await t.turn("tea")
    assert (turn.text, turn.attempts) == ("Let me look. 4 tea ordered, milk 0", 2)
    assert len(shop.model.calls) == 3
    assert shop.ordered == ["tea"]
    assert turn.events[-1].raw.turn_completed.usage.model_calls == 3


async def test_no_wait_of_the_sdk_s_is_a_place_where_something_is_lost() -> None:
    # The turn has some 75 waits.
    twice = 0
    for wait in range(2, 72, 4):
        shop = Shop()
        async with AgentTest(openai_agents_agent(shop.agent)) as t:
            t.crash(at_wait=wait)
            t.answers("yes")
            turn = await t.turn("tea")
        assert (wait, turn.text, turn.attempts) == (wait, "Let me look. 4 tea ordered, milk 0", 2)
        assert len(shop.model.calls) <= 4
        twice += shop.ordered == ["tea", "tea"]
        assert shop.ordered in (["tea"], ["tea", "tea"])
    assert twice <= 2, "it died between the order and its record"


async def test_it_ends_as_it_would_have_wherever_it_is_cut_off() -> None:
    agent = Agent(name="parrot", model=SdkModel(lambda _, heard: ["So"]))
    async with AgentTest(openai_agents_agent(agent)) as t:
        report = await t.crash_everywhere("tea")
    assert len(report.cuts) > 20
