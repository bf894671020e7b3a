"""The callers that wait for a session or task of this node, and the circles that this could make (agentring/held.py).

Guarantees: a call that would wait for a session or task which it holds up itself, or whose turn waits for what the
caller holds, is refused at once; what has ended holds nobody up from that moment on. A circle that goes through a wait
of `ctx.once` of one turn for another's step is not seen here; it ends at that wait's deadline. Circles of steps alone
are those of once/cycles.py, which says why the two are apart. One for a node's incarnation.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from agentring.errors import TaskCycle
from agentring.held import Holder, Ref

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Caller:
    held: Collection[Ref]
    is_over: Callable[[], bool]


class WaitCycles:
    """Waits, by what is waited for."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._callers: dict[Ref, set[_Caller]] = {}
        self._holders: dict[Ref, set[Holder]] = {}

    def check(self, ref: Ref, held: Collection[Ref]) -> None:
        """Raises TaskCycle where a caller that holds these must not wait for it."""
        if ref in held or any(holder.waits.keys() & held for holder in self._holders.get(ref, ())):
            raise TaskCycle

    @contextmanager
    def waiting(self, ref: Ref, held: Collection[Ref], is_over: Callable[[], bool]) -> Iterator[None]:
        """In the body a caller that holds these waits for it, until is_over."""
        if not held:
            yield
            return
        caller = _Caller(held, is_over)
        self._callers.setdefault(ref, set()).add(caller)
        try:
            yield
        finally:
            _remove(self._callers, ref, caller)

    def begin(self, ref: Ref) -> Holder:
        """A turn of the session, or the task's run, is under way from now on, until `end`."""
        holder = Holder(ref, partial(self._held_by_callers, ref))
        self._holders.setdefault(ref, set()).add(holder)
        return holder

    def end(self, holder: Holder) -> None:
        """It is over."""
        _remove(self._holders, holder.ref, holder)

    @contextmanager
    def running(self, ref: Ref) -> Iterator[Holder]:
        """As `begin`, for the body."""
        holder = self.begin(ref)
        try:
            yield holder
        finally:
            self.end(holder)

    def _held_by_callers(self, ref: Ref) -> set[Ref]:
        return {each for caller in self._callers.get(ref, ()) if not caller.is_over() for each in caller.held}


def _remove(index: dict[Ref, set[T]], ref: Ref, one: T) -> None:
    index[ref].discard(one)
    if not index[ref]:
        del index[ref]
