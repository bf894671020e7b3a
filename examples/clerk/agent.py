"""A model with two tools that sells tea: it looks into the stock, and orders after the user's yes.

The model is a fake one, so that the example needs no key. For a real one write `OpenAIModel("gpt-4.1-mini")` of
agentring.models in its place, and start the nodes with OPENAI_API_KEY; nothing else changes.
"""

from agentring.agent import tool
from agentring.models import chat_agent
from examples.clerk.fake_model import FakeModel

STOCK = {"tea": 4, "coffee": 0}


@tool
async def stock(item: str) -> int:
    """How many of an item there are."""
    return STOCK.get(item, 0)


@tool
async def order(item: str, count: int, *, idempotency_key: str) -> str:
    """Orders an item for the customer."""
    # In truth a call of the shop's API, which takes each key once: a call that was cut off is made again.
    assert idempotency_key
    return f"{count} {item} ordered"


clerk = chat_agent(
    FakeModel(),
    instructions="You sell tea. Look into the stock before you order.",
    tools=[stock, order],
    asks_before=["order"],
)
