"""The assistant calculates by a tool, says where it runs and what it can do, and has a reply to any text."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.agents.assistant.agent import assistant
from agent_node.agents.assistant.intents import LONGEST_READ, Intent, understand
from agentring.agent import JsonObject
from agentring.ids import Epoch, NodeId
from harness.agent_context import FakeContext, run_agent
from harness.assistant import say

SCRAPS = [
    "my name is",
    "what is",
    "note:",
    "todo",
    "add",
    "to my",
    "todos",
    "done",
    "forget",
    "all",
    "1",
    "+",
    "please",
]
"""Pieces of phrases; some sequences of them are phrases, most come close."""


async def test_a_text_longer_than_it_reads_is_refused_and_not_cut() -> None:
    state: JsonObject = {}
    assert (await say("note: " + "many words " * LONGEST_READ, state))[1]["refused"]
    assert state == {}
    # Surplus spaces do not count.
    await say("note:" + " " * 2 * LONGEST_READ + "a" + " " * 2 * LONGEST_READ + "b", state)
    assert state == {"notes": ["a b"]}


@pytest.mark.parametrize(
    ("text", "reply", "expression", "answer"),
    [
        ("what is 2 + 3 * 4?", "2 + 3 * 4 = 14", "2 + 3 * 4", {"value": 14}),
        ("0.1 + 0.2", "0.1 + 0.2 = 0.3", "0.1 + 0.2", {"value": 0.1 + 0.2}),
        ("6 / 3", "6 / 3 = 2", "6 / 3", {"value": 2.0}),
        ("2 ** 53", "2 ** 53 = 9007199254740992", "2 ** 53", {"value": 2**53}),
        # A double cannot hold it, so JSON gets its digits.
        ("2 ** 53 + 1", "2 ** 53 + 1 = 9007199254740993", "2 ** 53 + 1", {"value": "9007199254740993"}),
        ("1 / 0", "That divides by zero, which has no answer.", "1 / 0", {"refusal": "division_by_zero"}),
        ("9**9**9", "That gets too large for me: at most 300 digits.", "9**9**9", {"refusal": "too_large"}),
        ("(0-1) ** 0.5", "That is not a real number.", "(0-1) ** 0.5", {"refusal": "not_real"}),
        (
            "calculate the moon",
            "I cannot read that as arithmetic. I know numbers, + - * / // % ** and parentheses.",
            "the moon",
            {"refusal": "unreadable"},
        ),
    ],
)
async def test_calculates_with_a_tool(text: str, reply: str, expression: str, answer: JsonObject) -> None:
    ctx = FakeContext(text)
    pieces, result = await run_agent(assistant, ctx)
    assert "".join(pieces) == reply
    assert result == {"intent": "arithmetic", "expression": expression, "value": None, **answer}
    assert ctx.tool_calls == [("calculator", {"expression": expression}, answer)]
    assert ctx.state == {}


@pytest.mark.parametrize("text", ["where are you?", "how many turns?", "status"])
async def test_knows_where_it_runs(text: str) -> None:
    epoch = 3 * 2**40 + 12
    ctx = FakeContext(text, node_id=NodeId("node-2"), fencing_token=Epoch(epoch), turn_number=5)
    pieces, result = await run_agent(assistant, ctx)
    assert "".join(pieces) == f"I run on node node-2 in epoch {epoch}. This is turn 5 of our session."
    assert result == {"intent": "status", "node": "node-2", "epoch": epoch, "turn": 5}


@pytest.mark.parametrize(("text", "intent"), [("help", "help"), ("hello", "greeting"), ("hmm", "other"), ("", "other")])
async def test_says_what_it_can_do(text: str, intent: str) -> None:
    reply, result = await say(text)
    assert ("help" in reply or "note: buy milk" in reply, result) == (True, {"intent": intent})


async def test_help_is_made_of_phrases_that_it_understands() -> None:
    reply, _ = await say("help")
    examples = [example for line in reply.splitlines()[1:] for example in line.removeprefix("- ").split(" / ")]
    assert len(examples) == 16
    assert [example for example in examples if understand(example).intent is Intent.OTHER] == []


async def test_streams_word_by_word() -> None:
    reply, _ = await run_agent(assistant, FakeContext("my name is Ada"))
    assert reply == ["Nice ", "to ", "meet ", "you, ", "Ada."]


@given(st.text() | st.lists(st.sampled_from(SCRAPS)).map(" ".join))
@settings(deadline=None)
def test_any_text_gets_an_answer_and_leaves_a_state_of_json(text: str) -> None:
    state: JsonObject = {"name": "Ada", "notes": ["a"], "todos": ["b"]}
    reply, result = asyncio.run(say(text, state))
    assert reply
    assert result["intent"] in {"name", "notes", "todos", "forget", "arithmetic", "status", "help", "greeting", "other"}
    assert json.loads(json.dumps(state)) == state
    assert state.keys() <= {"name", "notes", "todos"}
