"""Calls of tools that wait for somebody, answered by the user of the session."""

import json
from typing import Any

from pydantic_ai import DeferredToolRequests, DeferredToolResults, RunContext, ToolApproved, ToolDenied, ToolFailed
from pydantic_ai.messages import ToolCallPart

from agentring.adapters.consent import ask_consent
from agentring.adapters.current import current_context
from agentring.agent import NobodyToAsk

_MOST_ARGUMENTS = 2_000
"""Characters; a question has 16 KiB at most."""


async def answered(_: RunContext[Any], requests: DeferredToolRequests) -> DeferredToolResults:
    """Asks for each call, one after the other: whether it may be made, or what its result is."""
    approvals: dict[str, bool | ToolApproved | ToolDenied] = {}
    for call in requests.approvals:
        consent = await ask_consent(current_context(), call.tool_name, call.args_as_json_str())
        because = f": {consent.reason}" if consent.reason else "."
        approvals[call.tool_call_id] = (
            True if consent.is_given else ToolDenied(f"The user did not allow this call{because}")
        )
    results = {call.tool_call_id: await _result_of(call) for call in requests.calls}
    return DeferredToolResults(approvals=approvals, calls=results)


async def _result_of(call: ToolCallPart) -> Any:
    arguments = call.args_as_json_str()[:_MOST_ARGUMENTS]
    try:
        answer = await current_context().ask(f"What is the result of {call.tool_name}({arguments})?")
    except NobodyToAsk:
        return ToolFailed("nobody is there to ask")
    return json.dumps(answer.data) if answer.data else answer.text
