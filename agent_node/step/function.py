"""Calls the function of a step: with what every step is handed besides its arguments, within its time, as often as its
policy says."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent_node.step.clock import RunClock
from agent_node.step.outcome import KeptError, StepOutcome, completed, failed
from agent_node.step.typed import as_json
from agentring.agent import Retry


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a step is to run, as Context.step has it."""

    key: str | None = None
    idempotent: bool = True
    retry: Retry | None = None
    timeout_s: float | None = None
    pure: bool = False
    returns: Any = None
    """The type of the result; None: JSON."""
    take_place: Callable[[], Awaitable[None]] | None = None
    """What is waited for before the step begins, so that one that waits has not begun."""
    leave_place: Callable[[], None] = lambda: None
    """Gives that back, to be waited for once more."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """What is called."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def handed(self, **values: Any) -> "StepCall":
        """With those of these values that the function names and the caller does not say itself."""
        more = {name: value for name, value in values.items() if name not in self.kwargs and self._names(name)}
        return StepCall(self.function, self.args, {**self.kwargs, **more}) if more else self

    def _names(self, name: str) -> bool:
        function = self.function
        code = getattr(function, "__code__", None)
        if code is not None:
            if name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
                return True
            if not code.co_flags & inspect.CO_VARKEYWORDS or not hasattr(function, "__wrapped__"):
                return False  # else it is a decorator's, which hands on what it does not name itself
        try:
            return name in inspect.signature(function).parameters
        except (TypeError, ValueError):
            return False


class Tries(Protocol):
    """What goes with the calls of one step's function."""

    def restart(self) -> None:
        """It is about to be called, perhaps again."""

    async def tries_again(self, error: Exception) -> bool:
        """Whether it is to be called again at once, whatever the step's policy is, where it may be."""


async def outcome_of(
    call: StepCall,
    options: StepOptions,
    most_bytes: int,
    check: Callable[[], None],
    clock: RunClock,
    storage: Tries,
    may_try: Callable[[], Awaitable[None]],
) -> StepOutcome:
    """Calls the function until it has an outcome. most_bytes: as `completed`; check: raises where the run is at its end
    by itself, whatever the function raised; may_try: awaited before each further try. Raises CancelledError where it
    was cancelled or raised that, and what may_try raises."""
    tries = 0
    while True:
        tries += 1
        if tries > 1:
            await may_try()
        storage.restart()
        try:
            async with clock.timeout(options.timeout_s):
                value = await call.function(*call.args, **call.kwargs)
        except Exception as error:
            check()
            # No name for it: this frame, which the error's traceback has, would hold it.
            if options.idempotent and await storage.tries_again(error.error if type(error) is KeptError else error):
                continue
            if not options.idempotent or options.retry is None or not options.retry.tries_again(error, tries):
                return failed(error)
            await clock.sleep(options.retry.wait_s(tries))
        else:
            check()
            return completed(value if options.returns is None else as_json(value), most_bytes)
