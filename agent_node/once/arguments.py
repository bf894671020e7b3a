"""The arguments of a step of `ctx.once`, bound to its function where the agent calls it.

Guarantees: what the arguments are is settled when `once` is called, and they stay in the agent's process, whatever they
are: the claim, the store, other nodes and the node of a child process see the key and the result alone. What cannot be
called so is refused before the key is claimed, so that a slip of the author's is not replayed as the step's failure.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from agentring.plain_json import type_name

_OF_EVERY_RUN = ("idempotency_key", "fencing_token")


def with_arguments(
    function: Callable[..., Awaitable[Any]], args: Mapping[str, Any] | None
) -> Callable[..., Awaitable[Any]]:
    """The function, to be called with what every run of a step is given. Raises TypeError, ValueError."""
    if args is None:
        return function
    if not isinstance(args, Mapping):
        raise TypeError(f"args is a mapping of names to values, not {type_name(type(args))}")
    named = dict(args)
    for name in named:
        if not isinstance(name, str):
            raise TypeError(f"args has names that are str, not {type_name(type(name))}")
        if name in _OF_EVERY_RUN:
            raise ValueError(f"args must not have {name}: every run of the step is given its own")
    bound = partial(function, **named)
    _check_call(function, named)
    return bound


def _check_call(function: Callable[..., Awaitable[Any]], named: Mapping[str, Any]) -> None:
    try:
        # Of what is called, not of what it wraps: a decorator may add arguments.
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:  # some of C's say nothing of theirs
        return
    try:
        signature.bind(**named, **dict.fromkeys(_OF_EVERY_RUN))
    except TypeError as error:
        raise TypeError(f"the step's function does not take its arguments: {error}") from None
