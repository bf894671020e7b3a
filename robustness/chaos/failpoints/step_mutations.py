"""Mutations of what protects the steps of runs; as mutations.py, which puts them together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam

from agent_node.run.republished import Republished
from agent_node.step import steps
from agent_node.step.clock import RunClock
from agent_node.step.function import StepCall, StepOptions, Tries, outcome_of
from agent_node.step.outcome import StepOutcome
from agent_node.store.sql import step_transactions
from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.session_schema import of_session, sessions
from agent_node.store.sql.steps import SqlStepStore
from agent_node.store.step_records import Life, StepState, StoredStep
from robustness.chaos.failpoints.failpoints import before_write, replace

_LASTS_S = 0.6


def no_memory_of_outcomes(_: Path) -> None:
    """What earlier attempts have recorded is not read."""

    async def read(self: SqlStepStore, life: Life, after_ordinal: int) -> Sequence[StoredStep]:
        return ()

    replace(SqlStepStore, "read", read)


def no_memory_of_starts(_: Path) -> None:
    """That a step which must not run twice was begun is not read. Such steps take long, so that a fault meets one."""
    original = SqlStepStore.read

    async def read(self: SqlStepStore, life: Life, after_ordinal: int) -> Sequence[StoredStep]:
        return [row for row in await original(self, life, after_ordinal) if row.state != StepState.STARTED]

    async def lasting(
        call: StepCall,
        options: StepOptions,
        most_bytes: int,
        check: Callable[[], None],
        clock: RunClock,
        storage: Tries,
        may_try: Callable[[], Awaitable[None]],
    ) -> StepOutcome:
        if not options.idempotent:
            await asyncio.sleep(_LASTS_S)
        return await outcome_of(call, options, most_bytes, check, clock, storage, may_try)

    replace(SqlStepStore, "read", read)
    replace(steps, "outcome_of", lasting)


def no_step_compare(trigger: Path) -> None:
    """The store takes a step whatever epoch and owner the session has by now."""
    before_write(trigger)
    epoch, owner = (
        (column == bindparam(name)) | (column != bindparam(name))
        for column, name in ((sessions.c.epoch, "k_epoch"), (sessions.c.owner, "k_owner"))
    )
    any_turn: Any = bindparam("k_turn_id") == bindparam("k_turn_id")
    blind = step_transactions.OWNED_AND_OPEN.statement.where()
    not_landed = sessions.c.commit_id != bindparam("new_commit_id")
    blind._where_criteria = (of_session(sessions) & epoch & owner & any_turn & not_landed,)
    replace(step_transactions, "OWNED_AND_OPEN", HotStatement(blind))


def no_memory_of_words(_: Path) -> None:
    """A later attempt says again what stays valid of an earlier one."""
    original = Republished.__init__

    def init(self: Republished, *args: Any) -> None:
        original(self, *args)
        self.is_over = True

    replace(Republished, "__init__", init)


STEP_MUTATIONS: dict[str, Callable[[Path], None]] = {
    "no-memory-of-outcomes": no_memory_of_outcomes,
    "no-memory-of-starts": no_memory_of_starts,
    "no-memory-of-words": no_memory_of_words,
    "no-step-compare": no_step_compare,
}
