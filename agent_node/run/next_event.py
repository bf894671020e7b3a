"""Waits for an agent's next event, and says when the agent waits for something itself.

Guarantees: until the agent awaits something that is not there yet, the event loop does not go on, so nobody else's code
runs between its events; `suspends` is called before the loop does. Used by `run_agent` (agent_run.py).
"""

import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

END: Any = object()
"""Instead of an event: the agent has come to its end."""


@types.coroutine
def next_event(step: Awaitable[Any], suspends: Callable[[], None]) -> Generator[Any, Any, Any]:
    """What `await step` returns, or END. suspends: must not raise. Raises what the agent raises. Cancellation: as of
    `step`."""
    # As `await` does it (PEP 380), with a word in between.
    agent = step.__await__()
    try:
        waited = next(agent)
        while True:
            suspends()
            try:
                yield waited
            except GeneratorExit:
                agent.close()
                raise
            except BaseException as error:
                waited = agent.throw(error)
            else:
                waited = next(agent)
    except StopIteration as ended:
        return ended.value
    except StopAsyncIteration:
        return END
