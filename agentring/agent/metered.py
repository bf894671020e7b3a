"""What of a run is counted."""

from typing import Protocol

from agentring.usage import Usage


class Metered(Protocol):
    """The part of Context that counts."""

    def add_usage(self, usage: Usage) -> None:
        """Adds to what the turn has used: its client gets the sum with `turn_completed`.

            reply = await ctx.step("model", call_model, prompt)
            ctx.add_usage(Usage(input_tokens=reply["input_tokens"], model_calls=1))

        Call it between steps, never in the function of a step: every attempt counts anew from zero, and a function is
        not called where its outcome is recorded. `agentring.models` does it by itself. Raises TypeError where usage is
        none, ValueError where the sum is beyond 2**53.
        """
