"""What a graph has told is told again where the turn goes on elsewhere, whatever of it is in the graph's state."""

from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage, ToolMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

from agentring.adapters import current_context
from agentring.adapters.langgraph import langgraph_agent
from agentring.testing import AgentTest


def chain(**nodes: Any) -> Any:
    builder = StateGraph(MessagesState)
    before = START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    builder.add_edge(before, END)
    return builder.compile()


def says(*messages: AnyMessage | str) -> Any:
    made = [AIMessage(each) if isinstance(each, str) else each for each in messages]

    async def node(state: MessagesState) -> dict[str, Any]:
        get_stream_writer()({"said": len(made)})
        return {"messages": [each.model_copy() for each in made]}

    return node


async def asks(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"sure={interrupt('sure?')} ")]}


async def thinks(state: MessagesState) -> dict[str, Any]:
    """Says what it keeps out of the state."""
    await GenericFakeChatModel(messages=iter([AIMessage("let me think... ")])).ainvoke(state["messages"])
    return {}


async def forgets(state: MessagesState) -> dict[str, Any]:
    return {"messages": [RemoveMessage(id=str(each.id)) for each in state["messages"][:-1]]}


@pytest.mark.parametrize("waits", [20, 32, 41])
async def test_words_that_are_not_in_the_state(waits: int) -> None:
    async with AgentTest(langgraph_agent(chain(thinks=thinks, a=says("a "), b=says("b")))) as test:
        test.crash(at_wait=waits)
        turn = await test.turn("go")
    assert (turn.text, turn.attempts) == ("let me think... a b", 2)
    assert turn.emitted == (("custom", {"said": 1}), ("custom", {"said": 1}))


@pytest.mark.parametrize("waits", [20, 30, 45, 57])
async def test_words_and_tools_of_a_subgraph_that_waits_for_an_answer(waits: int) -> None:
    """The later waits are those between the subgraph's end and its node's, where LangGraph begins it anew."""
    call: Any = {"name": "look", "args": {"at": "x"}, "id": "1", "type": "tool_call"}
    looks = says(AIMessage("looking ", tool_calls=[call]), ToolMessage("seen", tool_call_id="1"))
    inner = chain(looks=looks, asks=asks)
    async with AgentTest(langgraph_agent(chain(inner=inner, last=says("done")))) as test:
        test.answers("yes", "yes")
        test.crash(at_wait=waits)
        turn = await test.turn("go")
    assert (turn.text, turn.attempts) == ("looking sure=yes done", 2)
    assert [(each.name, each.arguments, each.result) for each in turn.tools] == [("look", {"at": "x"}, "seen")]


@pytest.mark.parametrize("waits", [21, 33, 36])
async def test_words_of_messages_that_a_later_node_removes(waits: int) -> None:
    agent = langgraph_agent(chain(a=says("a "), forgets=forgets, b=says("b")))
    async with AgentTest(agent) as test:
        await test.turn("before")
        test.crash(at_wait=waits)
        assert (await test.turn("go")).text == "a b"


async def test_what_nodes_side_by_side_told_is_told_again_with_the_names_of_those_that_have_ended() -> None:
    builder = StateGraph(MessagesState)
    for name, node in (("a", says("a ")), ("b", asks), ("c", says("c"))):
        builder.add_node(name, node)
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge(["a", "b"], "c")
    builder.add_edge("c", END)
    agent = langgraph_agent(builder.compile(), node_events=True)
    async with AgentTest(agent) as test:
        test.answers("yes")
        test.crash(at_wait=33)
        turn = await test.turn("go")
    assert (turn.text, turn.attempts) == ("a sure=yes c", 2)
    assert [data["node"] for name, data in turn.emitted if name == "node"] == ["a", "b", "c"]


async def test_what_was_kept_of_a_turn_goes_with_the_next_one() -> None:
    kept: list[int] = []

    async def counts(state: MessagesState) -> dict[str, Any]:
        kept.append(len(await current_context().storage.latest.list("langgraph-shown/")))
        return {}

    async with AgentTest(langgraph_agent(chain(a=says("a"), b=says("b"), counts=counts))) as test:
        for _ in range(3):
            await test.turn("go")
    assert kept == [2, 2, 2]
