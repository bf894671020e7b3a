"""A clerk written with Pydantic AI, which knows nothing of agentring, and the line that makes it an agent.

The model is a fake one, so that the example needs no key. For a real one write `Agent("openai:gpt-4.1-mini", ...)`, and
start the nodes with OPENAI_API_KEY; nothing else changes.
"""

from pydantic_ai import Agent

from agentring.adapters import ring_tool
from agentring.adapters.pydantic_ai import pydantic_ai_agent
from examples.pydantic_ai.fake_model import FAKE_MODEL

STOCK = {"tea": 4, "coffee": 0}

clerk = Agent(FAKE_MODEL, name="clerk", instructions="You sell tea.")


@clerk.tool_plain
async def stock(item: str) -> int:
    """How many of an item there are."""
    return STOCK.get(item, 0)


@clerk.tool_plain(requires_approval=True)
@ring_tool(once=lambda args: f"order-{args['item']}-{args['count']}")
async def order(item: str, count: int, *, idempotency_key: str) -> str:
    """Orders an item for the customer."""
    # In truth a call of the shop's API, which takes each key once.
    assert idempotency_key
    return f"{count} {item} ordered"


pydantic_ai = pydantic_ai_agent(clerk)
