"""Circles of waits for the steps of `ctx.once`, and the refusal of the wait that would close one.

A caller that runs steps holds their keys, and they travel along with whatever it waits for: in memory to the runs of
this node, in WatchRun to those of others. A wait is refused where the run that is waited for waits, itself or through
other runs of this node, for a key that the caller holds. What a run waits for is recorded before the wait begins, so
that of two waits for each other the later one finds the earlier. A circle through a third node is not seen from here;
it ends at its waits' deadlines.

Not the same as run/wait_cycles.py, which knows the waits for sessions and tasks: there the holder is a turn, known to
one node, and a wait adds the keys of the caller's callers; here the holder is a step's key, whose waits are followed
from run to run. With both in one graph a step's wait would count as its turn's, and waits that end at their deadline
today would be refused. Used by Once (steps.py) and OnceKeys (keys.py).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from agent_node.once.run import OnceRun
from agentring.errors import TaskCycle
from agentring.held import Holder
from agentring.held import holding as holding_up
from agentring.ids import OnceRef

_held: ContextVar[tuple[OnceRun, ...]] = ContextVar("agentring_once_held", default=())
"""The runs that the current code is a part of, the outermost first."""


def held_runs() -> Sequence[OnceRun]:
    """The runs that the caller is a part of. What a step leaves behind, a task of its own say, holds nothing once the
    step has ended."""
    return tuple(run for run in _held.get() if not run.ended.done())


@contextmanager
def holding(run: OnceRun) -> Iterator[None]:
    """The body is a part of the run."""
    token = _held.set((*_held.get(), run))
    try:
        with holding_up(Holder(run.ref)):
            yield
    finally:
        _held.reset(token)


@contextmanager
def waiting(held: Sequence[OnceRun], ref: OnceRef) -> Iterator[None]:
    """In the body the runs wait for a key. Raises TaskCycle where one of them is that key's."""
    if any(run.ref == ref for run in held):
        raise TaskCycle
    # Invariant: of two waits for each other the later finds the earlier (tests/unit/agent_node/once/test_cycles.py).
    for run in held:
        run.waits[ref] += 1
    try:
        yield
    finally:
        for run in held:
            run.waits[ref] -= 1
            if not run.waits[ref]:
                del run.waits[ref]


def check_no_cycle(runs: Mapping[OnceRef, OnceRun], awaited: OnceRef, held: Collection[OnceRef]) -> None:
    """Raises TaskCycle if the awaited run waits, itself or through other `runs`, for a key that is held."""
    seen: set[OnceRef] = set()
    to_see = [awaited]
    while to_see:
        ref = to_see.pop()
        if ref in held:
            raise TaskCycle
        run = runs.get(ref)
        if ref not in seen and run is not None and not run.ended.done():
            to_see += run.waits
        seen.add(ref)
