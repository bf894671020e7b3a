"""Asks before it acts: the turn waits for the user's answer, for days if need be, also while nodes come and go."""

from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context, NobodyToAsk, Result

SCHEMA = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
"""For clients that show a form; others answer with a text."""


async def approval(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Asks whether it may do what the text says, and keeps what was approved in the session's state."""
    action = ctx.input_text.strip() or "do nothing"
    try:
        answer = await ctx.ask(f"May I {action}?", schema=SCHEMA)
    except NobodyToAsk:  # this is a task, which has no user
        yield f"nobody is there to approve: {action}"
        yield Result({"approved": False, "action": action})
        return
    # Up to here the agent does the same in every run: after a crash it is run again, with the answer that was given.
    # Nobody has checked the data against the schema, so what is not `true` is no.
    approved = answer.data.get("approved", answer.text.strip().lower() in ("y", "yes")) is True
    if approved:
        ctx.state["approved"] = [*ctx.state.get("approved", []), action]
    yield f"{'done' if approved else 'left'}: {action}"
    yield Result({"approved": approved, "action": action, "so_far": ctx.state.get("approved", [])})
