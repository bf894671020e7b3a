"""What is halted on this node: one attribute that is None while nothing is, which every start of a step, turn and task
looks at.

Guarantees: what any of its sources says is halted, is: etcd, the store, and what a router has said and neither shows
yet. So a source that lost a halt, or never got it, ends none. Where two of them differ about a scope, what cancels
counts before what holds. From the moment in which a halt is known here nothing of it starts in this process; what runs
is stopped by agent_node/lifecycle/halting.py.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from agentring.cluster.halts import Halt, HaltScope, scopes_of
from agentring.ids import SessionRef, TaskRef


@dataclass(frozen=True, slots=True)
class HaltSet:
    """At least one halt."""

    by_scope: Mapping[HaltScope, Halt]

    def find(self, ref: SessionRef | TaskRef, agent: str) -> Halt | None:
        """The halt of a session or task of an agent: one that cancels before one that holds."""
        found = [halt for scope in scopes_of(ref, agent) if (halt := self.by_scope.get(scope)) is not None]
        return min(found, key=lambda halt: halt.hold) if found else None


class Halts:
    """Of one process."""

    def __init__(self) -> None:
        """Nothing is halted."""
        self.current: HaltSet | None = None
        """None: nothing is halted, so nobody need look any further."""
        self._of_etcd: tuple[Halt, ...] = ()
        self._of_store: tuple[Halt, ...] = ()
        self._said: dict[HaltScope, Halt] = {}
        """By a router; each until etcd or the store shows it."""
        self._changed = asyncio.Event()

    @property
    def all(self) -> list[Halt]:
        """Each scope once, in their order."""
        return [] if self.current is None else [halt for _, halt in sorted(self.current.by_scope.items())]

    def find(self, ref: SessionRef | TaskRef, agent: str) -> Halt | None:
        """The halt that a session or task is under; None: it is under none."""
        return None if self.current is None else self.current.find(ref, agent)

    def check(self, ref: SessionRef | TaskRef, agent: str) -> None:
        """Raises Halted."""
        if (halt := self.find(ref, agent)) is not None:
            raise halt.error()

    async def wait_changed(self) -> None:
        """Returns when something has been halted or resumed. Cancellation: changes nothing."""
        await self._changed.wait()

    async def pass_by(
        self, ref: SessionRef | TaskRef, agent: str, is_stopping: Callable[[], bool], waits: Callable[[], None]
    ) -> None:
        """Returns once nothing halts a run. What cancels it comes as its cancellation, so that it ends as cancelled.

        is_stopping: whether the run was asked to end: then nothing of it begins any more, its clean-up included. waits:
        called before it waits. Raises Halted.
        """
        while (halt := self.find(ref, agent)) is not None:
            if is_stopping():
                raise halt.error()
            waits()
            await self.wait_changed()

    def say(self, halt: Halt) -> None:
        """A router says that this is halted."""
        self._said[halt.scope] = halt
        self._settle()

    def unsay(self, scope: HaltScope) -> None:
        """A router says that a scope is resumed; etcd and the store may still say that it is halted."""
        self._said.pop(scope, None)
        self._settle()

    def see_etcd(self, halts: Iterable[Halt]) -> None:
        """All that etcd has."""
        self._of_etcd = tuple(halts)
        self._settle()

    def see_store(self, halts: Iterable[Halt]) -> None:
        """All that the store has."""
        self._of_store = tuple(halts)
        self._settle()

    def _settle(self) -> None:
        kept = {halt.halt_id for halt in (*self._of_etcd, *self._of_store)}
        self._said = {scope: halt for scope, halt in self._said.items() if halt.halt_id not in kept}
        by_scope: dict[HaltScope, Halt] = {}
        for halt in (*self._of_etcd, *self._of_store, *self._said.values()):
            earlier = by_scope.get(halt.scope)
            # Invariant: what cancels counts before what holds (tests/unit/agent_node/halt/test_halts.py).
            if earlier is None or (earlier.hold and not halt.hold):
                by_scope[halt.scope] = halt
        before = self.current.by_scope if self.current is not None else {}
        if by_scope != before:
            self.current = HaltSet(by_scope) if by_scope else None
            self._changed.set()
            self._changed = asyncio.Event()
