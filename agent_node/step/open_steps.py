"""The steps of a run that were asked for and have not been handed over.

Guarantees: of equal steps one is open at a time, but those that may be beside each other. Used by steps.py.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from agent_node.step.position import Position
from agent_node.step.storage_keys import Changes
from agent_node.store.step_records import StoredStep

_SHOWN = ("step", "stream", "once")
"""The kinds of steps that have events of their own."""


@dataclass(slots=True)
class OpenStep:
    """One of them."""

    base: bytes
    """What equal steps have in common."""
    row: StoredStep
    """As STARTED."""
    position: Position
    storage: Changes
    """What its function stores by key."""
    waits: bool
    """Whether a question may be asked meanwhile."""
    kind: str
    """One of another kind is another step."""
    task: "asyncio.Task[Any] | None"
    """In which it was asked for."""

    @property
    def is_shown(self) -> bool:
        """Whether it has events of its own."""
        return self.kind in _SHOWN


class OpenSteps:
    """Of one attempt."""

    def __init__(self) -> None:
        self._steps: dict[bytes, OpenStep] = {}
        """By their ids."""
        self._bases: Counter[bytes] = Counter()

    @property
    def forbid_questions(self) -> bool:
        """Whether one is open during which no question may be asked."""
        return any(not opened.waits for opened in self._steps.values())

    def has_equal(self, base: bytes) -> bool:
        """Whether one of this base is open."""
        return base in self._bases

    def add(self, opened: OpenStep) -> OpenStep:
        """One more, which is returned."""
        self._steps[opened.row.step_id] = opened
        self._bases[opened.base] += 1
        return opened

    def remove(self, opened: OpenStep) -> None:
        """It is over."""
        del self._steps[opened.row.step_id]
        self._bases[opened.base] -= 1
        if not self._bases[opened.base]:
            del self._bases[opened.base]

    def cut_off(self) -> None:
        """Cancels the tasks in which they were asked for, but the one that calls."""
        for opened in self._steps.values():
            if opened.task is not None and opened.task is not asyncio.current_task():
                opened.task.cancel()
