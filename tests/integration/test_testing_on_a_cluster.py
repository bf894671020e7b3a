"""One body of a test in the test's own process and on a real local cluster, whose nodes are killed."""

import sys
from typing import Any

import pytest

from agentring.testing import AgentTest, QuestionUnanswered, TurnNotAsExpected
from harness.buying import buying


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "make",
    [
        AgentTest,
        pytest.param(AgentTest.cluster, marks=pytest.mark.skipif(sys.platform != "linux", reason="starts a cluster")),
    ],
    ids=["in process", "cluster"],
)
async def test_the_same_body_runs_here_and_there(make: Any) -> None:
    async with make(buying, state={"bought": ["milk"]}) as t:
        t.answers("yes", "no")
        t.crash(after_step=1)
        turn = await t.turn("tea")
        assert (turn.text, turn.result) == ("receipt for tea", {"bought": ["milk", "tea"]})
        assert (turn.attempts, len(turn.cuts), turn.questions) == (2, 1, ("sure?",))
        assert [(step.name, step.replayed, step.called_in) for step in turn.steps] == [
            ("charge", True, (1,)),
            ("mail", False, (2,)),
        ]
        assert (turn.steps[0].value, turn.steps[1].value) == ("receipt for tea", 6)
        assert [(use.name, use.result) for use in turn.tools] == [("mail", 6)]
        assert t.state == {"bought": ["milk", "tea"]}

        assert (await t.turn("cake")).text == "left"
        broken = await t.turn("a bomb", fails="AGENT_ERROR")
        assert "not sold" in str(broken.error)
        with pytest.raises(QuestionUnanswered, match=r"sure\?"):
            await t.turn("tea")

        t.crash(in_step=2)
        task = await t.task("order", "coal")
        assert (task.text, task.attempts, task.steps[1].called_in) == ("receipt for coal", 2, (1, 2))
        t.answers("yes")
        t.crash(before_step=3)
        with pytest.raises(TurnNotAsExpected, match="its node was still to die"):
            await t.turn("tea")
        assert t.state == {"bought": ["milk", "tea", "tea"]}


def test_a_cluster_hosts_agents_of_modules_alone() -> None:
    with pytest.raises(ValueError, match="a module must define it"):
        AgentTest.cluster(lambda ctx: buying(ctx))
