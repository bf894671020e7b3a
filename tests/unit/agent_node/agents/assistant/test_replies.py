"""The assistant remembers names, notes and todos within bounds, and changes nothing where it is not clear what."""

import pytest

from agent_node.agents.assistant.agent import assistant
from agent_node.agents.assistant.memory import MAX_ITEM_CHARACTERS, MAX_ITEMS, MAX_NAME_CHARACTERS
from agentring.agent import JsonObject
from harness.agent_context import FakeContext, run_agent
from harness.assistant import say


async def test_asks_for_what_it_does_not_know() -> None:
    state: JsonObject = {}
    ctx = FakeContext("ask me", state=state, answers=["Ada.", "tea, not coffee"])
    reply, result = await run_agent(assistant, ctx)
    assert ctx.asked == ["What is your name?", "What shall I remember, Ada?"]
    assert "".join(reply) == "Noted: tea, not coffee (note 1)."
    assert result == {"intent": "notes", "notes": ["tea, not coffee"]}
    again = FakeContext("ask me", state=state, answers=[""])
    assert (await run_agent(assistant, again))[1] == {"intent": "notes", "notes": ["tea, not coffee"], "refused": True}
    assert again.asked == ["What shall I remember, Ada?"]


async def test_asks_nothing_more_where_it_gets_no_name() -> None:
    ctx = FakeContext("ask me", answers=["  "])
    assert (await run_agent(assistant, ctx))[1] == {"intent": "name", "name": None}
    assert ctx.asked == ["What is your name?"]


async def test_a_task_has_nobody_to_ask() -> None:
    reply, result = await run_agent(assistant, FakeContext("ask me", answers=None))
    assert result == {"intent": "interview", "refused": True}
    assert "nobody" in "".join(reply)


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
    ("text", "reply"),
    [
        ("done 3", "I found no such todo. I have 2 todos."),
        ("done 0", "I found no such todo. I have 2 todos."),
        ("done with sweeping", "I found no such todo. I have 2 todos."),
        ("done with call", "Which one? It could be todo 1, 2. Tell me the number."),
        ("done", 'Which one? Tell me its number; "list todos" shows them.'),
    ],
)
async def test_finishes_nothing_where_it_is_not_clear_what(text: str, reply: str) -> None:
    state: JsonObject = {"todos": ["call Bob", "call Ada"]}
    assert await say(text, state) == (
        reply,
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
    ("text", "reply"),
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
async def test_forgets_nothing_where_it_is_not_clear_what(text: str, reply: str) -> None:
    state: JsonObject = {"notes": ["milk", "oil"]}
    assert await say(text, state) == (reply, {"intent": "forget", "forgotten": 0})
    assert state == {"notes": ["milk", "oil"]}


async def test_forgets_everything_of_nothing() -> None:
    assert await say("forget everything") == ("There was nothing to forget.", {"intent": "forget", "forgotten": 0})


@pytest.mark.parametrize(("phrase", "kind"), [("note: ", "notes"), ("todo: ", "todos")])
async def test_what_it_keeps_is_bounded(phrase: str, kind: str) -> None:
    longest = "x" * MAX_ITEM_CHARACTERS
    state: JsonObject = {}
    reply, result = await say(phrase + longest + "x", state)
    assert reply == f"That is more than I can keep: at most {MAX_ITEM_CHARACTERS} characters for each of the {kind}."
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
