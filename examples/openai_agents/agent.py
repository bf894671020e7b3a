"""A clerk written with the OpenAI Agents SDK, which knows nothing of agentring, and the line that makes it an agent.

The model is a fake one, so that the example needs no key. For a real one write `model="gpt-4.1-mini"`, and start the
nodes with OPENAI_API_KEY; nothing else changes.
"""

from agents import Agent, RunConfig, function_tool

from agentring.adapters import ring_tool
from agentring.adapters.openai_agents import openai_agents_agent
from examples.openai_agents.fake_model import FakeModel

STOCK = {"tea": 4, "coffee": 0}


@function_tool
async def stock(item: str) -> int:
    """How many of an item there are."""
    return STOCK.get(item, 0)


@function_tool(needs_approval=True)
@ring_tool(once=lambda args: f"order-{args['item']}-{args['count']}")
async def order(item: str, count: int, *, idempotency_key: str) -> str:
    """Orders an item for the customer."""
    # In truth a call of the shop's API, which takes each key once.
    assert idempotency_key
    return f"{count} {item} ordered"


clerk = Agent(name="clerk", instructions="You sell tea.", model=FakeModel(), tools=[stock, order])

openai_agents = openai_agents_agent(clerk, run_config=RunConfig(tracing_disabled=True))
