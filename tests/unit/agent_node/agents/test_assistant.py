"""The assistant understands its phrases, remembers within bounds, and shows its sums as tool calls."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.agents.assistant.agent import assistant
from agent_node.agents.assistant.intents import LONGEST_READ, Ask, Request, understand
from agent_node.agents.assistant.memory import MAX_ITEM_CHARACTERS, MAX_ITEMS, MAX_NAME_CHARACTERS
from agentring.agent import JsonObject
from agentring.ids import Epoch, NodeId
from harness.agent_context import FakeContext, run_agent

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
"""Pieces of phrases; some rows of them are phrases, most come close."""


async def say(text: str, state: JsonObject | None = None) -> tuple[str, JsonObject]:
    """One turn on a session with this state, which it changes: the words as one text, and the result."""
    words, result = await run_agent(assistant, FakeContext(text, state={} if state is None else state))
    return "".join(words), result


@pytest.mark.parametrize(
    ("text", "ask", "about"),
    [
        ("my name is Ada", Ask.TELL_NAME, "Ada"),
        ("Hello, MY NAME IS Ada Lovelace!", Ask.TELL_NAME, "Ada Lovelace"),
        ("Good morning! My name\u2019s Ada and I like tea", Ask.TELL_NAME, "Ada"),
        ("my name is Ada. What is my name?", Ask.TELL_NAME, "Ada"),
        ('my name is "Grace  Hopper"', Ask.TELL_NAME, "Grace Hopper"),
        ("I'm called Zo\u00eb.", Ask.TELL_NAME, "Zo\u00eb"),
        ("you can call me O'Brien", Ask.TELL_NAME, "O'Brien"),
        ("call me back", Ask.OTHER, ""),
        ("remember that my name is Ada", Ask.TELL_NAME, "Ada"),
        ("What is my name?", Ask.SAY_NAME, ""),
        ("whats my name again", Ask.SAY_NAME, ""),
        ("do you remember my name, please?", Ask.SAY_NAME, ""),
        ("who am I", Ask.SAY_NAME, ""),
        ("note: buy milk", Ask.ADD_NOTE, "buy milk"),
        ("NOTE - Buy milk.", Ask.ADD_NOTE, "Buy milk"),
        ("take a note: is it Tuesday?", Ask.ADD_NOTE, "is it Tuesday?"),
        ("add tea to my notes", Ask.ADD_NOTE, "tea"),
        ("please remember that  the shop\ncloses at 6!", Ask.ADD_NOTE, "the shop closes at 6"),
        ("don't forget to breathe", Ask.ADD_NOTE, "breathe"),
        ("remember", Ask.ADD_NOTE, ""),
        ("noteworthy things", Ask.OTHER, ""),
        ("What do you remember?", Ask.LIST_NOTES, ""),
        ("what do you know about me", Ask.LIST_NOTES, ""),
        ("list my notes", Ask.LIST_NOTES, ""),
        ("todo: call Bob", Ask.ADD_TODO, "call Bob"),
        ("to-do call Bob", Ask.ADD_TODO, "call Bob"),
        ("To do: call Bob", Ask.ADD_TODO, "call Bob"),
        ("add todo call Bob", Ask.ADD_TODO, "call Bob"),
        ("could you add a todo: call Bob", Ask.ADD_TODO, "call Bob"),
        ("add call Bob to my to-do list.", Ask.ADD_TODO, "call Bob"),
        ("list todos", Ask.LIST_TODOS, ""),
        ("What's on my to-do list?", Ask.LIST_TODOS, ""),
        ("what do I have to do", Ask.LIST_TODOS, ""),
        ("done 1", Ask.FINISH_TODO, "1"),
        ("Done with 1!", Ask.FINISH_TODO, "1"),
        ("todo 1 is done", Ask.FINISH_TODO, "1"),
        ("I'm done with call Bob", Ask.FINISH_TODO, "call Bob"),
        ("forget everything", Ask.FORGET, "everything"),
        ("please forget my name.", Ask.FORGET, "my name"),
        ("delete note 2", Ask.FORGET, "note 2"),
        ("2+2", Ask.CALCULATE, "2+2"),
        ("hey, what is 6 x 7?", Ask.CALCULATE, "6 * 7"),
        ("Ask me something!", Ask.INTERVIEW, ""),
        ("please get to know me", Ask.INTERVIEW, ""),
        ("ask me later", Ask.OTHER, ""),
        ("Where are you?", Ask.STATUS, ""),
        ("How many turns have we had so far?", Ask.STATUS, ""),
        ("which node are you on?", Ask.STATUS, ""),
        ("what epoch is this", Ask.STATUS, ""),
        ("status", Ask.STATUS, ""),
        ("HELP!", Ask.HELP, ""),
        ("?", Ask.HELP, ""),
        ("what can you do?", Ask.HELP, ""),
        ("hello", Ask.GREET, ""),
        ("Hi there!", Ask.GREET, ""),
        ("tell me a joke", Ask.OTHER, ""),
        ("I was told that my name is long", Ask.OTHER, ""),
        ("", Ask.OTHER, ""),
        ("please", Ask.OTHER, ""),
    ],
)
def test_understands(text: str, ask: Ask, about: str) -> None:
    assert understand(text) == Request(ask, about)


async def test_asks_for_what_it_does_not_know() -> None:
    state: JsonObject = {}
    ctx = FakeContext("ask me", state=state, answers=["Ada.", "tea, not coffee"])
    words, result = await run_agent(assistant, ctx)
    assert ctx.asked == ["What is your name?", "What shall I remember, Ada?"]
    assert "".join(words) == "Noted: tea, not coffee (note 1)."
    assert result == {"intent": "notes", "notes": ["tea, not coffee"]}
    again = FakeContext("ask me", state=state, answers=[""])
    assert (await run_agent(assistant, again))[1] == {"intent": "notes", "notes": ["tea, not coffee"], "refused": True}
    assert again.asked == ["What shall I remember, Ada?"]


async def test_asks_no_more_where_it_gets_no_name() -> None:
    ctx = FakeContext("ask me", answers=["  "])
    assert (await run_agent(assistant, ctx))[1] == {"intent": "name", "name": None}
    assert ctx.asked == ["What is your name?"]


async def test_a_task_has_nobody_to_ask() -> None:
    words, result = await run_agent(assistant, FakeContext("ask me", answers=None))
    assert result == {"intent": "interview", "refused": True}
    assert "nobody" in "".join(words)


async def test_remembers_a_name() -> None:
    state: JsonObject = {}
    assert (await say("What is my name?", state))[1] == {"intent": "name", "name": None}
    assert await say("My name is Ada.", state) == ("Nice to meet you, Ada.", {"intent": "name", "name": "Ada"})
    assert await say("what's my name", state) == ("Your name is Ada.", {"intent": "name", "name": "Ada"})
    assert (await say("hello", state))[0].startswith("Hello, Ada.")
    assert (await say("tell me a joke", state))[0].startswith("I have no answer to that, Ada:")
    assert state == {"name": "Ada"}


async def test_remembers_notes() -> None:
    state: JsonObject = {}
    assert await say("what do you remember?", state) == (
        "You have not told me anything yet.",
        {"intent": "notes", "notes": []},
    )
    assert await say("note: buy milk", state) == (
        "Noted: buy milk (note 1).",
        {"intent": "notes", "notes": ["buy milk"]},
    )
    await say("remember that the shop closes at 6", state)
    await say("my name is Ada", state)
    assert await say("what do you remember?", state) == (
        "Your name is Ada.\nYour notes:\n1. buy milk\n2. the shop closes at 6",
        {"intent": "notes", "notes": ["buy milk", "the shop closes at 6"]},
    )
    assert state == {"name": "Ada", "notes": ["buy milk", "the shop closes at 6"]}


async def test_keeps_todos() -> None:
    state: JsonObject = {}
    assert await say("list todos", state) == ("You have nothing to do.", {"intent": "todos", "todos": []})
    assert await say("todo: call Bob", state) == ("Todo 1: call Bob.", {"intent": "todos", "todos": ["call Bob"]})
    await say("add todo sweep", state)
    await say("add read to my todo list", state)
    assert await say("list todos", state) == (
        "Your todos:\n1. call Bob\n2. sweep\n3. read",
        {"intent": "todos", "todos": ["call Bob", "sweep", "read"]},
    )
    assert await say("done 1", state) == (
        "Done: call Bob. 2 todos left.",
        {"intent": "todos", "todos": ["sweep", "read"]},
    )
    assert await say("done with READ!", state) == ("Done: read. 1 todo left.", {"intent": "todos", "todos": ["sweep"]})
    assert state == {"todos": ["sweep"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("done 3", "I found no such todo. I have 2 todos."),
        ("done 0", "I found no such todo. I have 2 todos."),
        ("done with sweeping", "I found no such todo. I have 2 todos."),
        ("done with call", "Which one? It could be todo 1, 2. Tell me the number."),
        ("done", 'Which one? Tell me its number; "list todos" shows them.'),
    ],
)
async def test_finishes_nothing_where_it_is_not_clear_what(text: str, words: str) -> None:
    state: JsonObject = {"todos": ["call Bob", "call Ada"]}
    assert await say(text, state) == (
        words,
        {"intent": "todos", "todos": ["call Bob", "call Ada"], "refused": True},
    )
    assert state == {"todos": ["call Bob", "call Ada"]}


@pytest.mark.parametrize(
    ("text", "forgotten", "left"),
    [
        ("forget everything", 5, {}),
        ("forget my name", 1, {"notes": ["milk", "more milk"], "todos": ["call Bob", "milk the cow"]}),
        ("forget all my notes", 2, {"name": "Ada", "todos": ["call Bob", "milk the cow"]}),
        ("clear the to-do list", 2, {"name": "Ada", "notes": ["milk", "more milk"]}),
        ("forget note 2", 1, {"name": "Ada", "notes": ["milk"], "todos": ["call Bob", "milk the cow"]}),
        ("forget 1", 1, {"name": "Ada", "notes": ["more milk"], "todos": ["call Bob", "milk the cow"]}),
        ("remove todo 1", 1, {"name": "Ada", "notes": ["milk", "more milk"], "todos": ["milk the cow"]}),
        ("forget todo milk", 1, {"name": "Ada", "notes": ["milk", "more milk"], "todos": ["call Bob"]}),
        ("forget about Milk.", 1, {"name": "Ada", "notes": ["more milk"], "todos": ["call Bob", "milk the cow"]}),
        ("forget call Bob", 1, {"name": "Ada", "notes": ["milk", "more milk"], "todos": ["milk the cow"]}),
    ],
)
async def test_forgets(text: str, forgotten: int, left: JsonObject) -> None:
    state: JsonObject = {"name": "Ada", "notes": ["milk", "more milk"], "todos": ["call Bob", "milk the cow"]}
    assert (await say(text, state))[1] == {"intent": "forget", "forgotten": forgotten}
    assert state == left


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("forget bread", "I found no such note. I have 2 notes."),
        ("forget note 3", "I found no such note. I have 2 notes."),
        ("forget todo 1", "I found no such todo. I have no todos."),
        ("forget il", "Which one? It could be note 1, 2. Tell me the number."),
        ("forget", 'Which one? Tell me its number; "list notes" shows them.'),
        ("forget my name", "I do not know your name."),
        ("forget my todos", "I have forgotten no todos."),
    ],
)
async def test_forgets_nothing_where_it_is_not_clear_what(text: str, words: str) -> None:
    state: JsonObject = {"notes": ["milk", "oil"]}
    assert await say(text, state) == (words, {"intent": "forget", "forgotten": 0})
    assert state == {"notes": ["milk", "oil"]}


async def test_forgets_everything_of_nothing() -> None:
    assert await say("forget everything") == ("There was nothing to forget.", {"intent": "forget", "forgotten": 0})


@pytest.mark.parametrize(("phrase", "kind"), [("note: ", "notes"), ("todo: ", "todos")])
async def test_what_it_keeps_is_bounded(phrase: str, kind: str) -> None:
    longest = "x" * MAX_ITEM_CHARACTERS
    state: JsonObject = {}
    words, result = await say(phrase + longest + "x", state)
    assert words == f"That is more than I can keep: at most {MAX_ITEM_CHARACTERS} characters for each of the {kind}."
    assert result == {"intent": kind, kind: [], "refused": True}
    assert state == {}
    for _ in range(MAX_ITEMS):
        assert "refused" not in (await say(phrase + longest, state))[1]
    full = {kind: [longest] * MAX_ITEMS}
    assert await say(phrase + "one more", state) == (
        f"That is more than I can keep: at most {MAX_ITEMS} {kind}.",
        {"intent": kind, **full, "refused": True},
    )
    assert state == full


async def test_a_name_is_bounded() -> None:
    state: JsonObject = {"name": "Ada"}
    assert await say("my name is " + "x" * (MAX_NAME_CHARACTERS + 1), state) == (
        f"That is more than I can keep: at most {MAX_NAME_CHARACTERS} characters of a name.",
        {"intent": "name", "name": "Ada", "refused": True},
    )
    assert state == {"name": "Ada"}


async def test_a_text_longer_than_it_reads_is_refused_and_not_cut() -> None:
    state: JsonObject = {}
    assert (await say("note: " + "many words " * LONGEST_READ, state))[1]["refused"]
    assert state == {}
    # Surplus spaces do not count.
    await say("note:" + " " * 2 * LONGEST_READ + "a" + " " * 2 * LONGEST_READ + "b", state)
    assert state == {"notes": ["a b"]}


@pytest.mark.parametrize(
    ("text", "words", "expression", "answer"),
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
async def test_reckons_with_a_tool(text: str, words: str, expression: str, answer: JsonObject) -> None:
    ctx = FakeContext(text)
    pieces, result = await run_agent(assistant, ctx)
    assert "".join(pieces) == words
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
    words, result = await say(text)
    assert ("help" in words or "note: buy milk" in words, result) == (True, {"intent": intent})


async def test_help_is_made_of_phrases_that_it_understands() -> None:
    words, _ = await say("help")
    examples = [example for line in words.splitlines()[1:] for example in line.removeprefix("- ").split(" / ")]
    assert len(examples) == 16
    assert [example for example in examples if understand(example).ask is Ask.OTHER] == []


async def test_streams_word_by_word() -> None:
    words, _ = await run_agent(assistant, FakeContext("my name is Ada"))
    assert words == ["Nice ", "to ", "meet ", "you, ", "Ada."]


@given(st.text() | st.lists(st.sampled_from(SCRAPS)).map(" ".join))
@settings(deadline=None)
def test_any_text_gets_an_answer_and_leaves_a_state_of_json(text: str) -> None:
    state: JsonObject = {"name": "Ada", "notes": ["a"], "todos": ["b"]}
    words, result = asyncio.run(say(text, state))
    assert words
    assert result["intent"] in {"name", "notes", "todos", "forget", "arithmetic", "status", "help", "greeting", "other"}
    assert json.loads(json.dumps(state)) == state
    assert state.keys() <= {"name", "notes", "todos"}
