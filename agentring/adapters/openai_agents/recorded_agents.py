"""Copies of the SDK's agents whose model calls and tool calls are steps of the turn.

Guarantees: the author's agents are not changed; a copy is made of each agent once, so that handoffs in a circle come
round. An agent that is used as a tool (`Agent.as_tool`) is one step as a whole, and so are tools of MCP servers none.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

from agents import Agent, FunctionTool, Handoff, Model, ToolOutputFileContent, ToolOutputImage, ToolOutputText
from agents.tool_context import ToolContext
from pydantic import BaseModel

from agentring.adapters.current import current_context
from agentring.adapters.openai_agents.recorded_model import RecordedModel
from agentring.agent import Tool
from agentring.plain_json import to_struct

_MOST_SHOWN_BYTES = 256 << 10
"""Of arguments that are shown as they are."""
_MOST_SAID = 1_000
"""Characters of those that are not."""
_MOST_KEY = 1_000
"""Characters. What a model names its call with may be of any length."""


class RecordedAgents:
    """The copies of all agents that can be reached from one."""

    def __init__(self) -> None:
        """None so far."""
        self._made: dict[int, tuple[Agent[Any], Agent[Any]]] = {}
        """By the original's identity: agents have no hash. It is kept, so that no other takes its identity."""

    def of(self, agent: Agent[Any]) -> Agent[Any]:
        """Its copy."""
        if id(agent) in self._made:
            return self._made[id(agent)][1]
        made = agent.clone(
            model=RecordedModel(agent.model) if isinstance(agent.model, Model) else agent.model,
            model_settings=agent.model_settings,
            tools=[_recorded(tool) if isinstance(tool, FunctionTool) else tool for tool in agent.tools],
            handoffs=[],
        )
        self._made[id(agent)] = (agent, made)
        self._made[id(made)] = (made, made)
        made.handoffs = [
            self._handoff(target) if isinstance(target, Handoff) else self.of(target) for target in agent.handoffs
        ]
        return made

    def _handoff(self, handoff: Handoff[Any, Any]) -> Handoff[Any, Any]:
        invoke = handoff.on_invoke_handoff

        async def invoked(context: Any, arguments: str) -> Any:
            return self.of(await invoke(context, arguments))

        return dataclasses.replace(handoff, on_invoke_handoff=invoked)


def _recorded(tool: FunctionTool) -> FunctionTool:
    invoke = tool.on_invoke_tool

    async def invoked(context: ToolContext[Any], arguments: str) -> Any:
        call = _call(invoke, context, arguments)
        ring_tool = Tool(call, name=tool.name, description=tool.description, parameters=tool.params_json_schema)
        shown, key = _shown(arguments or "{}"), context.tool_call_id[:_MOST_KEY]
        return _of_json(await current_context().call_tool(ring_tool, shown, key=key))

    return dataclasses.replace(tool, on_invoke_tool=invoked)


def _shown(arguments: str) -> dict[str, Any]:
    """What of the arguments is shown. The SDK tells the model what is wrong with those that are none."""
    try:
        found = json.loads(arguments)
        to_struct(found, max_bytes=_MOST_SHOWN_BYTES)
    except (ValueError, RecursionError):
        return {"arguments": arguments[:_MOST_SAID].encode("utf-8", "replace").decode()}
    return cast(dict[str, Any], found)


def _call(
    invoke: Callable[[ToolContext[Any], str], Awaitable[Any]], context: ToolContext[Any], arguments: str
) -> Callable[..., Awaitable[Any]]:
    async def call(**_: Any) -> Any:
        # The SDK reads the arguments itself, as the model wrote them.
        return _to_json(await invoke(context, arguments))

    return call


def _to_json(result: Any) -> Any:
    """What is no output of the SDK's own kinds is the text that the SDK would make of it."""
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json", exclude_none=True)
    if isinstance(result, list | tuple) and result and all(map(_is_output, result)):
        return [_to_json(each) for each in result]
    return result if isinstance(result, str) or _is_output(result) else str(result)


def _of_json(found: Any) -> Any:
    """As the tool had returned it."""
    if isinstance(found, list):
        return [_of_json(each) for each in found]
    return _OUTPUTS[found["type"]].model_validate(found) if _is_output(found) else found


def _is_output(value: Any) -> bool:
    """Whether it is text, a picture or a file as the SDK knows them."""
    if isinstance(value, dict):
        return value.get("type") in _OUTPUTS
    return isinstance(value, tuple(_OUTPUTS.values()))


_OUTPUTS: dict[str, type[BaseModel]] = {"text": ToolOutputText, "image": ToolOutputImage, "file": ToolOutputFileContent}
