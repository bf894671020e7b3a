"""A clerk of Pydantic AI: looks up two items at once, orders after the user's yes, and says so."""

from collections.abc import Sequence

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ToolCallPart

from agentring.adapters import ring_tool
from harness.pydantic_ai_model import ShopModel, call, results


class Shop:
    """One shop."""

    def __init__(self) -> None:
        self.model = ShopModel(_says)
        self.ordered: list[str] = []
        """What has been, call by call."""
        self.agent = Agent(self.model, name="clerk", instructions="Sell tea.")

        @self.agent.tool_plain
        async def stock(item: str) -> int:
            """How many there are."""
            return {"tea": 4, "milk": 0}[item]

        @self.agent.tool_plain(requires_approval=True)
        @ring_tool(once=lambda args: f"order-{args['item']}")
        async def order(item: str, count: int) -> str:
            """Orders."""
            self.ordered.append(item)
            return f"{count} {item} ordered"


def _says(heard: list[ModelMessage]) -> Sequence[str | ToolCallPart]:
    match results(heard):
        case []:
            calls = [call("stock", f"{len(heard)}-{item}", item=item) for item in ("tea", "milk")]
            return ["Let me look. ", *calls]
        case [tea, _]:
            return [call("order", f"{len(heard)}-order", item="tea", count=tea)]
        case [_, milk, ordered]:
            return [f"{ordered}, milk {milk}"]
    raise AssertionError(heard)
