"""A user's yes or no to what a framework's agent is about to do, by `ctx.ask`."""

from dataclasses import dataclass
from typing import Any

from agentring.agent import Context, JsonObject, NobodyToAsk
from agentring.shown_call import shown_call

_YES = frozenset({"y", "yes", "ok", "okay", "sure"})
_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"approve": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approve"],
}


@dataclass(frozen=True, slots=True)
class Consent:
    """What the user said to one call."""

    is_given: bool
    reason: str
    """Why not, in the user's words; empty: they gave none."""


async def ask_consent(ctx: Context[Any], tool: str, arguments: str) -> Consent:
    """Asks whether a tool may be called. arguments: as the model wrote them.

        consent = await ask_consent(ctx, "charge", '{"amount": 7}')

    The answer's data count, {"approve": true, "reason": "..."}, or else its words: yes, y, ok, okay, sure. Nobody to
    ask, as in a task, is no consent. Raises as Context.ask.
    """
    try:
        answer = await ctx.ask(f"May I call {shown_call(tool, arguments)}? yes or no", schema=_SCHEMA)
    except NobodyToAsk:
        return Consent(False, "nobody is there to ask")
    approve = answer.data.get("approve")
    if isinstance(approve, bool):
        reason = answer.data.get("reason")
        return Consent(approve, reason if isinstance(reason, str) else answer.text)
    is_given = answer.text.strip().rstrip(".!").lower() in _YES
    return Consent(is_given, "" if is_given else answer.text)
