"""A clerk of the OpenAI Agents SDK: looks up two items at once, orders after the user's yes, and says so."""

from collections.abc import Sequence
from typing import Any

from agents import Agent, function_tool
from agents.items import TResponseOutputItem
from agents.testing import function_call

from agentring.adapters import ring_tool
from harness.sdk_model import SdkModel, results


class Shop:
    """One shop."""

    def __init__(self) -> None:
        self.model = SdkModel(_says)
        self.ordered: list[str] = []
        """What has been, call by call."""

        @function_tool
        async def stock(item: str) -> str:
            """How many there are."""
            return {"tea": "4", "milk": "0"}[item]

        @function_tool(needs_approval=True)
        @ring_tool(once=lambda args: f"order-{args['item']}")
        async def order(item: str, count: str) -> str:
            """Orders."""
            self.ordered.append(item)
            return f"{count} {item} ordered"

        self.agent = Agent(name="clerk", instructions="Sell tea.", model=self.model, tools=[stock, order])


def _says(instructions: str | None, heard: list[Any]) -> Sequence[str | TResponseOutputItem]:
    match results(heard):
        case []:
            calls = [function_call("stock", {"item": item}, call_id=f"{len(heard)}-{item}") for item in ("tea", "milk")]
            return ["Let me look. ", *calls]
        case [tea, _]:
            return [function_call("order", {"item": "tea", "count": tea}, call_id=f"{len(heard)}-order")]
        case [_, milk, ordered]:
            return [f"{ordered}, milk {milk}"]
    raise AssertionError(heard)
