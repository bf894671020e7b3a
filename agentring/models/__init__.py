"""Models for agents: one call is one step of the turn, which is not paid again where the turn is run again.

    from agentring.models import OpenAIModel, stream, user

    model = OpenAIModel("gpt-4.1-mini", api_key=key)

    async def poet(ctx: Context) -> AsyncIterator[AgentEvent]:
        async for text in stream(ctx, model, [user(f"A poem about {ctx.input_text}")]):
            yield text

docs/models.md is the guide. `OpenAIModel` needs the extra `openai`, which is imported with its first call.
"""

from agentring.models.calls import ModelStream, complete, stream
from agentring.models.chat_agent import chat_agent
from agentring.models.errors import ModelFailed
from agentring.models.messages import Message, assistant, system, tool_result, user
from agentring.models.model import Model
from agentring.models.openai_model import OpenAIModel
from agentring.models.reply import ModelTool, Reply, ToolCall, ToolSpec
from agentring.usage import Usage

__all__ = [
    "Message",
    "Model",
    "ModelFailed",
    "ModelStream",
    "ModelTool",
    "OpenAIModel",
    "Reply",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "assistant",
    "chat_agent",
    "complete",
    "stream",
    "system",
    "tool_result",
    "user",
]
