"""A fake of something with an effect outside, a payment or a mail, that knows how often it took effect."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentring.errors import NodeFenced
from agentring.testing.life import LIFE, Life


@dataclass(frozen=True, slots=True)
class EffectCall:
    """One call of an Effect.

    await t.turn("buy")
    assert charge.calls[0].args == (7,)
    assert charge.calls[0].step == "step 1 (charge)"
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    idempotency_key: str
    """What it was called with; empty: nothing."""
    step: str
    """The step that called it, with its number; empty: none."""
    node: int
    """Which of the test's nodes, from 1; 0: it was called by the test itself."""


@dataclass
class Effect:
    """Stands for a function that has an effect outside; counts how often it took effect.

        @Effect
        async def charge(amount: int, idempotency_key: str) -> str:
            return f"receipt for {amount}"

        async with AgentTest(shop_with(charge)) as t:
            await t.turn("buy tea")
            assert charge.count == 1
            await t.crash_everywhere("buy tea")

    As real services do, it takes two calls with the same `idempotency_key` for one, and answers the second with what it
    returned for the first. A call that raises has had no effect. `crash_everywhere` compares the effects of all that
    the agent calls; to hand them to the agent is the test's affair: as a parameter, by a closure, by monkeypatching.
    """

    function: Callable[..., Any]
    """Says what it returns: a coroutine function, or a plain one. Its signature is the Effect's."""
    name: str = ""
    """For people; empty: the function's."""
    calls: list[EffectCall] = field(default_factory=list, init=False)
    """Those that took effect, in their order."""
    _begun: set[tuple[int, str]] = field(default_factory=set, init=False, repr=False)
    _answers: dict[tuple[int, str], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """The signature is what a step looks at for `idempotency_key` and `fencing_token`."""
        self.name = self.name or getattr(self.function, "__name__", "effect")
        self.__name__ = self.name
        self.__signature__ = inspect.signature(self.function)

    @property
    def count(self) -> int:
        """How often it took effect, in all runs."""
        return len(self.calls)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises what the function raises, and NodeFenced where the node that calls is dead."""
        life = LIFE.get()
        if life is not None and life.is_over:
            raise NodeFenced
        key = str(kwargs.get("idempotency_key", ""))
        place = (life.run_number if life is not None else 0, key)
        if key and place in self._answers:
            return self._answers[place]
        step = life.where_in_step().removeprefix(", in ") if life is not None else ""
        call = EffectCall(args, kwargs, key, step, life.number if life is not None else 0)
        is_new = not key or place not in self._begun
        if is_new:
            self._begun.add(place)
            self._note(life, call)
        try:
            result = self.function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        except Exception:
            if is_new:
                self._begun.discard(place)
                self._take_back(life, call)
            raise
        if key:
            self._answers[place] = result
        return result

    def _note(self, life: Life | None, call: EffectCall) -> None:
        self.calls.append(call)
        if life is not None:
            life.effects.append((self, call))

    def _take_back(self, life: Life | None, call: EffectCall) -> None:
        self.calls.remove(call)
        if life is not None:
            life.effects.remove((self, call))
