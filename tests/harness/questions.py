"""Agents that ask."""

from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context, Result

FLAGS = ("--agent=asking=harness.questions:asking",)
"""What a node is started with to host it."""


async def asking(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Asks as many questions as its input says, and ends with the answers."""
    answers = []
    for number in range(int(ctx.input_text or "1")):
        answers.append((await ctx.ask(f"question {number + 1}?")).text)
    yield " and ".join(answers)
    yield Result({"attempt": ctx.attempt})
