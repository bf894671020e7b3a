"""Messages to a model: plain JSON in the shape of chat completions, so that they can be kept in a session's state.

A system's or a user's is {"role", "content"}; an assistant's has "tool_calls" where it called any; a tool's result has
the "tool_call_id" of its call.
"""

import json
from typing import Any

from agentring.models.reply import Reply, ToolCall

Message = dict[str, Any]
"""One message, as JSON."""


def system(text: str) -> Message:
    """How the model is to behave.

    messages = [system("Answer in one sentence."), user("Why is the sky blue?")]
    """
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    """What the user says.

    messages = [user("Why is the sky blue?")]
    """
    return {"role": "user", "content": text}


def assistant(reply: Reply) -> Message:
    """What the model has said, so that it can go on from there.

    messages.append(assistant(reply))
    """
    message: Message = {"role": "assistant", "content": reply.text or None}
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in reply.tool_calls
        ]
    return message


def tool_result(call: ToolCall, result: Any) -> Message:
    """What a tool that the model called has returned: a str as it is, anything else as JSON text.

        messages.append(tool_result(call, {"degrees": 4}))

    Raises TypeError, ValueError where it is no JSON.
    """
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, allow_nan=False)
    return {"role": "tool", "tool_call_id": call.call_id, "content": text}
