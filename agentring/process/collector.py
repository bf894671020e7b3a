"""When the garbage collector looks for cycles in a process that serves."""

import gc

_NEW_OBJECTS = 20_000
"""More than there were is when it looks. 700, the default, is what a few calls or half a dozen new sessions have: it
then took a third of the time of a new session and its turn."""
_YOUNGER_LOOKS = 20
"""Looks at the newest objects before those that have survived one are looked at, and so again for the oldest."""


def settle_collector() -> None:
    """Called once the process serves: what is there by now stays, so the collector does not look at it again; and it
    looks rarely, since what is served holds no cycles (tests/unit/router/relay/test_garbage.py,
    tests/unit/agent_node/services/test_garbage.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNGER_LOOKS, _YOUNGER_LOOKS)
