"""A graph of LangGraph that sells flowers: it looks into the stock, and orders once, after the user's yes.

Nothing in it is agentring's but the last line, and the line above `order`. The model is a fake one, so that the example
needs no key: for a real one write `init_chat_model("openai:gpt-4.1-mini")` in its place.
"""

from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from agentring.adapters import current_context, ring_tool
from agentring.adapters.langgraph import langgraph_agent
from examples.florist.fake_model import FakeModel


@tool
async def stock(flower: str) -> int:
    """How many of a flower there are."""
    return {"roses": 40, "tulips": 0}.get(flower, 0)


@tool
@ring_tool(once=lambda args: f"order-{args['flower']}-{current_context().idempotency_key}", idempotent=False)
async def order(flower: str, count: int, *, idempotency_key: str) -> str:
    """Orders flowers for the customer."""
    return f"{count} {flower} ordered"  # in truth: a call of the wholesaler's API, with the key


model = FakeModel().bind_tools([stock, order])


async def talk(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await model.ainvoke(state["messages"])]}


async def approve(state: MessagesState) -> Command[Any]:
    calls = state["messages"][-1].tool_calls  # type: ignore[union-attr]
    for call in calls:
        if (
            call["name"] == "order"
            and interrupt(f"{call['args']['count']} {call['args']['flower']}? yes or no") != "yes"
        ):
            refused = ToolMessage("the customer said no", tool_call_id=call["id"])
            return Command(goto="talk", update={"messages": [refused]})
    return Command(goto="tools" if calls else END)


builder = StateGraph(MessagesState)
builder.add_node("talk", talk)
builder.add_node("approve", approve, destinations=("tools", "talk", END))
builder.add_node("tools", ToolNode([stock, order]))
builder.add_edge(START, "talk")
builder.add_edge("talk", "approve")
builder.add_edge("tools", "talk")

florist = langgraph_agent(builder.compile())
