"""An agent for tests of the test kit, that nodes can import: asks, charges, counts."""

from collections.abc import AsyncIterator

from agentring.agent import AgentEvent, Context, NobodyToAsk, Result


async def charge(item: str, idempotency_key: str) -> str:
    """Has no effect."""
    return f"receipt for {item}" if idempotency_key else "no key"


async def mail(text: str) -> int:
    """Has no effect."""
    return len(text)


async def buying(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Buys what its text says, if the user is sure."""
    if ctx.input_text == "a bomb":
        raise LookupError("not sold")
    try:
        sure = await ctx.ask("sure?")
    except NobodyToAsk:
        pass
    else:
        if sure.text != "yes":
            yield "left"
            return
    receipt = await ctx.step("charge", charge, ctx.input_text)
    await ctx.tool("mail", mail, text="thanks")
    ctx.state["bought"] = [*ctx.state.get("bought", []), ctx.input_text]
    yield receipt
    yield Result({"bought": ctx.state["bought"]})
