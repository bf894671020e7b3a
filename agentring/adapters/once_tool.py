"""Tools of any framework that run once in the whole cluster.

Guarantees what `ctx.once` does, for a function that the framework calls with the model's arguments and without a
context: of all calls with one key one runs, under the owner's fencing token.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agentring.adapters.current import current_context, in_loop

_HANDED = ("idempotency_key", "fencing_token")


def ring_tool(
    *, once: Callable[[Mapping[str, Any]], str], idempotent: bool = True, timeout_s: float = 60.0
) -> Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]]:
    """Makes a function one that runs once for each key, to be handed to a framework as its tool.

        @langchain_core.tools.tool
        @ring_tool(once=lambda args: f"charge-{args['order']}", idempotent=False)
        async def charge(order: str, amount: int, *, idempotency_key: str) -> dict[str, int]:
            '''Charges an order.'''
            return await bank.charge(amount, idempotency_key)

    The framework sees the function's name, docstring and types, without `idempotency_key` and `fencing_token`, which
    the function may name and gets from agentring: the key the same for every attempt, the token the owner's. Functions
    that are not async run in a thread. once: makes the key of the arguments by name, defaults included; idempotent,
    timeout_s, and bounds of key and result: as Context.once.

    The tool raises as Context.once; RuntimeError outside of an agent; what `once` raises. Cancellation likewise.
    """

    def made(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        signature = inspect.signature(function)
        handed = [name for name in _HANDED if name in signature.parameters]
        seen = signature.replace(parameters=[each for name, each in signature.parameters.items() if name not in handed])

        @functools.wraps(function)
        async def tool(*args: Any, **kwargs: Any) -> Any:
            bound = seen.bind(*args, **kwargs)
            bound.apply_defaults()
            key = once(dict(bound.arguments))

            async def run(*, idempotency_key: str, fencing_token: int) -> Any:
                run_values = {"idempotency_key": idempotency_key, "fencing_token": fencing_token}
                more = bound.kwargs | {name: run_values[name] for name in handed}
                if inspect.iscoroutinefunction(function):
                    return await function(*bound.args, **more)
                return await asyncio.to_thread(function, *bound.args, **more)

            ctx = current_context()
            return await in_loop(lambda: ctx.once(key, run, timeout_s=timeout_s, idempotent=idempotent))

        tool.__signature__ = seen  # type: ignore[attr-defined]
        tool.__annotations__ = {name: kind for name, kind in function.__annotations__.items() if name not in handed}
        del tool.__wrapped__  # what follows it would find the parameters that are handed over
        return tool

    return made
