"""A mutation takes its protection of recorded steps away: else the control that the checker goes red for it would be
none."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from agent_node.run.republished import Republished
from agent_node.run.run_input import RunEvents
from agent_node.step.function import outcome_of
from agent_node.store.opening import open_store
from agent_node.store.published import Published
from agent_node.store.sql import step_transactions
from agent_node.store.sql.sessions import SqlStore
from agent_node.store.sql.steps import SqlStepStore
from agent_node.store.step_records import StepState
from agentring.cluster.lease import Lease
from agentring.errors import StaleEpoch
from harness.stored_steps import OwnedTurn, all_rows, row
from harness.stored_turns import HERE, epoch
from robustness.chaos.failpoints.mutations import MUTATIONS


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}", HERE, timeout_s=5.0, max_history_turns=1)
    assert store is not None
    yield store
    await store.close()


async def test_without_the_compare_a_stale_step_is_stored(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    turn = OwnedTurn(store)
    old = await turn.take(1)
    new = await turn.take(2, "n2/1")
    with pytest.raises(StaleEpoch):
        await store.steps.keep(old, [row(1)])
    monkeypatch.setattr(step_transactions, "OWNED_AND_OPEN", step_transactions.OWNED_AND_OPEN)
    monkeypatch.setattr(Lease, "check", Lease.check)
    MUTATIONS["no-step-compare"](Path("no trigger"))
    await store.steps.keep(replace(old, epoch=epoch(1)), [row(1)])
    assert await all_rows(turn, new) == [row(1)]


@pytest.mark.parametrize(("name", "left"), [("no-memory-of-outcomes", []), ("no-memory-of-starts", [row(2)])])
async def test_without_memory_rows_are_not_read(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, name: str, left: list[object]
) -> None:
    turn = OwnedTurn(store)
    owned = await turn.take(1)
    await store.steps.keep(owned, [row(1, StepState.STARTED), row(2)])
    monkeypatch.setattr(SqlStepStore, "read", SqlStepStore.read)
    monkeypatch.setattr("agent_node.step.steps.outcome_of", outcome_of)
    assert len(await all_rows(turn, owned)) == 2
    MUTATIONS[name](Path("no trigger"))
    assert await all_rows(turn, owned) == left


def test_without_memory_of_words_they_are_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Republished, "__init__", Republished.__init__)
    said: list[str] = []

    class Log:
        def append_text(self, turn_id: str, attempt: int, offset: int, *texts: str) -> int:
            said.extend(texts)
            return 0

    def republished() -> Republished:
        valid = (Published(3, 2, 0, b""),)
        return Republished(cast(RunEvents, Log()), valid, 1, lambda _: None, lambda: None)

    republished().append_text("t", 2, 0, "ab")
    assert said == []
    MUTATIONS["no-memory-of-words"](Path("no trigger"))
    republished().append_text("t", 2, 0, "ab")
    assert said == ["ab"]
