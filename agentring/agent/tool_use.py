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

        Arguments and result must be JSON; what is returned is what was recorded: a tuple comes as a list. Where the
        turn is cut off and runs again, a call that has ended is answered from its record: its result, or an error of
        the same class, text and arguments, without its other attributes (of a class that is not loaded: an Exception).
        Where the function names `idempotency_key` or `fencing_token`, and they are not among the arguments, it is
        called with the call's (the same in every attempt) and the owner's. Equal calls may run at the same time. A call
        that was cut off before its result was recorded is made again.

        Raises what the function raises; as `step` where the turn goes another way than before, or a bound is met;
        NodeFenced before the call where the node may no longer own the session.
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

        Raises ToolArgumentInvalid, what the function raises, StepUnknown for a tool that must not run twice and was
        cut off, and as `tool`.
        """
