"""The built-in agents end the same wherever their node dies."""

from agent_node.agents.assistant.agent import assistant
from agent_node.agents.echo import echo
from agentring.testing import AgentTest


async def test_echo_says_what_it_was_told() -> None:
    async with AgentTest(echo) as t:
        turn = await t.turn("one two  three")
        assert (turn.text, turn.result, turn.state) == ("one two  three", {"tokens": 3}, {})
        await t.crash_everywhere("one two  three")
        await t.crash_everywhere("tokens=3")
        assert (await t.task("key", "four")).text == "four"
        assert (await t.turn("tokens=-1", fails="AGENT_ERROR")).state == {}


async def test_the_assistant_remembers_and_calculates() -> None:
    async with AgentTest(assistant) as t:
        await t.turn("my name is Ada")
        report = await t.crash_everywhere("note: buy milk")
        assert report.turn.result == {"intent": "notes", "notes": ["buy milk"]}
        turn = await t.turn("what is 2 + 3 * 4?")
        assert turn.result == {"intent": "arithmetic", "expression": "2 + 3 * 4", "value": 14}
        assert [use.name for use in turn.tools] == ["calculator"]
        assert "Ada" in (await t.turn("what is my name?")).text


async def test_the_assistants_interview_outlives_every_death() -> None:
    async with AgentTest(assistant) as t:
        t.answers(lambda question: "Ada" if "name" in question.prompt else "tea")
        report = await t.crash_everywhere("ask me")
        assert report.turn.questions
        assert report.cuts
