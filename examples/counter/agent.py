"""Counts for each session: a turn adds its number, and the sum so far is the session's state."""

from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context, Result


async def counter(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Adds `by` of the input's data, else the number in its text, else 1. `reset` begins again.

    A text that is no number raises ValueError: the turn has failed then, and the state stays as it was before the turn.
    """
    if ctx.input_text.strip() == "reset":
        ctx.state.clear()
        yield "0"
        yield Result({"count": 0})
        return
    before = ctx.state.get("count", 0)
    by = int(ctx.input_data.get("by", ctx.input_text or 1))
    ctx.state["count"] = before + by
    yield f"turn {ctx.turn_number}: "
    yield f"{before} + {by} = {ctx.state['count']}"
    yield Result({"count": ctx.state["count"]})
