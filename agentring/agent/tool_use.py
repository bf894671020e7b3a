"""How an agent calls tools: each call is shown to the session, and recorded as a step is.

docs/agents.md, "Tools", is the guide.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from agentring.agent.tools import Tool


class ToolUse(Protocol):
    """The part of Context that calls tools."""

    async def tool(self, name: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Any:
        """Calls `function(**arguments)`; the call and its result are events of the session.

            found = await ctx.tool("look_up", look_up, city="Oslo")

        Arguments and result must be JSON. Raises what the function raises, and NodeFenced before the call where the
        node may no longer own the session.
        """

    async def call_tool(
        self, tool: Tool[..., Any], arguments: Mapping[str, Any] | str, /, *, key: str | None = None
    ) -> Any:
        """Calls a Tool with arguments that a model made, and returns its result as JSON.

            try:
                answer = await ctx.call_tool(tools[call.name], call.arguments)
            except ToolArgumentInvalid as invalid:
                answer = str(invalid)  # for the model, which then tries again

        arguments: by name, as JSON or as the function's own types; or a JSON object as text, as models write it. They
        are checked against the types that the function declares before anything is called or shown. The result may be
        of any type that has a JSON: dataclasses, pydantic models, dates. key: tells the call from equal ones, in the
        arguments' place, as a step's does: the model's own id of the call, say; 4 KiB at most.

        Raises ToolArgumentInvalid, what the function raises, and as `tool`.
        """
