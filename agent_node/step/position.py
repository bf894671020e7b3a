"""Where in a run some code is: inside which steps and scopes. Tasks that it begins are there, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from agent_node.step.identity import ID_BYTES, scope_id


@dataclass(frozen=True, slots=True)
class Position:
    """In one run."""

    run: Any
    """Tells one run from another."""
    parent_id: bytes = b""
    """Of the innermost step or scope."""
    outer_ids: bytes = b""
    """As StoredStep.outer_ids."""
    resumes: bool = False
    """What is here is not asked for again where its framework has gone past it."""

    @property
    def depth(self) -> int:
        """How many steps are around it."""
        return len(self.outer_ids) // ID_BYTES

    def inside(self, step_id: bytes) -> "Position":
        """Of the step's function."""
        return Position(self.run, step_id, self.outer_ids + step_id, self.resumes)

    def in_scope(self, name: str, *, resumes: bool = False) -> "Position":
        """Of what is in a scope."""
        return Position(self.run, scope_id(self.parent_id, name), self.outer_ids, self.resumes or resumes)


_POSITION: ContextVar[Position | None] = ContextVar("agentring_position", default=None)


def innermost() -> Position | None:
    """Of the current code, in whatever run it is; None: it is inside no step and no scope."""
    return _POSITION.get()


def position_in(run: object) -> Position:
    """Of the current code."""
    position = _POSITION.get()
    return position if position is not None and position.run is run else Position(run)


@contextmanager
def being(position: Position) -> Iterator[None]:
    """The body is there."""
    before = _POSITION.get()
    _POSITION.set(position)
    try:
        yield
    finally:
        # Not by the token: a generator that an agent leaves open is closed in another context.
        _POSITION.set(before)
