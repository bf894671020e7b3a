"""Agents that ask."""

from collections.abc import AsyncIterator

from agentring.agent.context import AgentEvent, Result, TurnContext

FLAGS = ("--agent=asking=harness.asking:asking",)
"""What a node is started with to host it."""


async def asking(ctx: TurnContext) -> AsyncIterator[AgentEvent]:
    """Asks as many questions as its input says, and ends with the answers."""
    answers = []
    for number in range(int(ctx.input_text or "1")):
        answers.append((await ctx.ask(f"question {number + 1}?")).text)
    yield " and ".join(answers)
    yield Result({"attempt": ctx.attempt})
