"""Toolsets of Pydantic AI whose calls are steps of the turn and events of the session.

Guarantees: a call that has returned, or has asked the model to try again, is not made again. Every toolset at the
bottom is wrapped, be it of functions, of an MCP server or made anew in each run; what asks for approval before a call
stays outside of its step.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_ai import ApprovalRequired, CallDeferred, ModelRetry, RunContext, ToolReturn, WrapperToolset
from pydantic_ai.messages import ToolReturnContent
from pydantic_ai.toolsets import ToolsetTool
from pydantic_core import to_jsonable_python

from agentring.adapters.current import current_context
from agentring.agent import Tool

_KIND = "pydantic_ai"
"""Key of the record of what is no plain result: return, approval, external, question."""
_CONTENT: TypeAdapter[Any] = TypeAdapter(ToolReturnContent)
_RETURN: TypeAdapter[Any] = TypeAdapter(ToolReturn[Any])


@dataclass
class RecordedTools(WrapperToolset[Any]):
    """A toolset whose calls are recorded."""

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """As AbstractToolset. Raises also as Context.call_tool."""

        async def call(**_: Any) -> Any:
            # With the arguments as the framework has validated them, which need not be JSON.
            try:
                return _recorded(await self.wrapped.call_tool(name, tool_args, ctx, tool))
            except ApprovalRequired as error:
                return {_KIND: "approval", "metadata": error.metadata}
            except CallDeferred as error:
                return {_KIND: error.kind, "metadata": error.metadata}
            except ValidationError as error:
                raise ModelRetry(str(error)) from error

        definition = tool.tool_def
        shown = Tool(
            call, name=name, description=definition.description or "", parameters=definition.parameters_json_schema
        )
        arguments = to_jsonable_python(tool_args, fallback=repr)
        return _found(await current_context().call_tool(shown, arguments, key=ctx.tool_call_id))


def _recorded(result: Any) -> Any:
    if isinstance(result, ToolReturn):
        return {_KIND: "return", "value": _RETURN.dump_python(result, mode="json")}
    return _CONTENT.dump_python(result, mode="json")


def _found(record: Any) -> Any:
    """As the tool had returned it. Raises what it had raised where it waits for the user."""
    kind = record.get(_KIND) if isinstance(record, dict) else None
    if kind == "return":
        return _RETURN.validate_python(record["value"])
    if kind == "approval":
        raise ApprovalRequired(record["metadata"])
    if kind in ("external", "question"):
        raise CallDeferred(record["metadata"], kind=kind)
    return _CONTENT.validate_python(record)
