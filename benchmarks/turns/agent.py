"""The agent that is measured: some 20 pieces of text, a counter and the last ten inputs as its state."""

from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context, Result

PIECES = tuple(f"piece {number:02} " for number in range(20))
_INPUTS = 10


async def counter(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Counts its turns, and keeps what was said last."""
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    ctx.state["inputs"] = [*ctx.state.get("inputs", []), ctx.input_text][-_INPUTS:]
    for piece in PIECES:
        yield piece
    yield Result({"turns": ctx.state["turns"]})
