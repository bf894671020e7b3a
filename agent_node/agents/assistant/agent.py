"""The agent `assistant`: remembers, calculates and knows where it runs, without a model and without a network.

Guarantees that every text gets a short answer and a result with an `intent`, and that the session's state stays bounded
(memory.py). Not a language model: it understands the phrases of intents.py and says so of everything else.

The results, for scripts; where a change was refused they also have `"refused": True`:

    {"intent": "name", "name": "Ada" or None}
    {"intent": "notes", "notes": [...]}      {"intent": "todos", "todos": [...]}      all that there are now
    {"intent": "forget", "forgotten": 1}                                              how many things
    {"intent": "arithmetic", "expression": "2 + 2", "value": 4}                       or "value": None, "refusal": why
    {"intent": "status", "node": "node-1", "epoch": 7, "turn": 3}
    {"intent": "interview", "refused": True}                                          a task has nobody to ask
    {"intent": "help"}      {"intent": "greeting"}      {"intent": "other"}
"""

import asyncio
import re
from collections.abc import AsyncIterator

from agent_node.agents.assistant.arithmetic import MAX_DIGITS, MAX_LENGTH, ExpressionError, Number, Refusal, evaluate
from agent_node.agents.assistant.intents import Intent, understand
from agent_node.agents.assistant.memory import Memory
from agent_node.agents.assistant.replies import Reply, interview, reply_from_memory
from agentring.agent import AgentEvent, Context, JsonObject, NobodyToAsk, Result

_HELP = """I remember what you tell me in this session, do arithmetic, and know where I run. Say, for example:
- my name is Ada / what is my name?
- note: buy milk / remember that the shop closes at six / what do you remember?
- todo: call Bob / list todos / done 1
- forget note 1 / forget my name / forget everything
- what is 2 + 3 * 4? / calculate 10% of 50
- ask me
- where are you? / how many turns?"""

_REFUSALS = {
    Refusal.UNREADABLE: "I cannot read that as arithmetic. I know numbers, + - * / // % ** and parentheses.",
    Refusal.TOO_LONG: f"That is too long for me: at most {MAX_LENGTH} characters.",
    Refusal.TOO_DEEP: "That is nested too deeply for me.",
    Refusal.TOO_LARGE: f"That gets too large for me: at most {MAX_DIGITS} digits.",
    Refusal.DIVISION_BY_ZERO: "That divides by zero, which has no answer.",
    Refusal.NOT_REAL: "That is not a real number.",
}

_PIECES = re.compile(r"\S+\s*")
_EXACT_INTEGER = 2**53


async def assistant(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Answers one turn, word by word, and returns what it did."""
    reply = await _reply(ctx)
    for piece in _PIECES.finditer(reply.text):
        yield piece.group()
        # A long list of notes must not keep the event loop to itself.
        await asyncio.sleep(0)
    yield Result(reply.result)


async def calculator(expression: str) -> JsonObject:
    """The tool: `{"value": number}`, or `{"refusal": why}` with a Refusal's value.

    That an expression has no value is a result, not a failure of the tool. A whole number beyond 2**53, which JSON
    readers would round, is a string of its digits.
    """
    try:
        return {"value": _as_json(evaluate(expression))}
    except ExpressionError as error:
        return {"refusal": error.refusal.value}


async def _reply(ctx: Context) -> Reply:
    request = understand(ctx.input_text)
    memory = Memory(ctx.state)
    # With the name where there is one: ", Ada".
    you = f", {memory.name}" if memory.name else ""
    match request.intent:
        case Intent.CALCULATE:
            return await _calculate(ctx, request.subject)
        case Intent.INTERVIEW:
            return await _interview(ctx, memory)
        case Intent.STATUS:
            return _status(ctx)
        case Intent.HELP:
            return Reply(_HELP, {"intent": "help"})
        case Intent.GREET:
            return Reply(f'Hello{you}. Say "help" to see what I can do.', {"intent": "greeting"})
        case Intent.OTHER:
            return Reply(
                f"I have no answer to that{you}: I am a small assistant with a memory and a calculator. "
                'Say "help" to see what I can do.',
                {"intent": "other"},
            )
        case _:
            return reply_from_memory(request, memory)


async def _calculate(ctx: Context, expression: str) -> Reply:
    found: JsonObject = await ctx.tool("calculator", calculator, expression=expression)
    result: JsonObject = {"intent": "arithmetic", "expression": expression, "value": found.get("value")}
    if "refusal" in found:
        return Reply(_REFUSALS[Refusal(found["refusal"])], {**result, "refusal": found["refusal"]})
    return Reply(f"{expression} = {_as_text(found['value'])}", result)


async def _interview(ctx: Context, memory: Memory) -> Reply:
    async def ask(question: str) -> str:
        return (await ctx.ask(question)).text

    try:
        return await interview(ask, memory)
    except NobodyToAsk:
        return Reply("There is nobody whom I could ask: this is a task.", {"intent": "interview", "refused": True})


def _status(ctx: Context) -> Reply:
    node, epoch, turn = ctx.node_id, ctx.fencing_token, ctx.turn_number
    return Reply(
        f"I run on node {node} in epoch {epoch}. This is turn {turn} of our session.",
        {"intent": "status", "node": node, "epoch": epoch, "turn": turn},
    )


def _as_json(value: Number) -> Number | str:
    return str(value) if isinstance(value, int) and abs(value) > _EXACT_INTEGER else value


def _as_text(value: Number | str) -> str:
    # Twelve digits hide what doubles do to decimals: 0.1 + 0.2 is 0.3.
    return f"{value:.12g}" if isinstance(value, float) else str(value)
