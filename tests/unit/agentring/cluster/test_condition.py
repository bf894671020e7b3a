"""The word for how a process is, and the probe that finds out how the coordinator is."""

import asyncio
from collections.abc import Sequence

import pytest

from agentring.cluster.condition import Condition, ConditionBoard, Trouble
from agentring.cluster.coordinator import PROBE_S, CoordinatorProbe
from agentring.cluster.etcd.errors import EtcdError, EtcdHistoryBroken, EtcdNoSpace, EtcdUnavailable
from agentring.cluster.etcd.types import Compare, Delete, Get, Put, TxnResult
from agentring.cluster.keys import Keys
from agentring.ids import Revision
from harness.clock import PATIENCE_S, FakeClock
from harness.etcd_scripted import ScriptedEtcd


def reading(board: ConditionBoard) -> tuple[Condition, Trouble | None]:
    """What the board says now."""
    return board.condition, board.trouble


PHASES = (Condition.STARTING, Condition.SERVING, Condition.DRAINING, Condition.FENCED)


@pytest.mark.parametrize("phase", PHASES)
def test_without_trouble_it_is_as_the_process_says(phase: Condition) -> None:
    board = ConditionBoard()
    assert reading(board) == (Condition.STARTING, None)
    board.enter(phase)
    assert reading(board) == (phase, None)
    assert phase.serves == (phase is Condition.SERVING)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("trouble", "serving_is"),
    [
        (Trouble.UNAVAILABLE, Condition.DEGRADED),
        (Trouble.NO_SPACE, Condition.DEGRADED),
        (Trouble.HISTORY_BROKEN, Condition.FENCED),
    ],
)
def test_trouble_degrades_who_serves_and_nobody_else(phase: Condition, trouble: Trouble, serving_is: Condition) -> None:
    board = ConditionBoard()
    board.report(trouble)
    board.enter(phase)
    assert board.condition is (serving_is if phase is Condition.SERVING else phase)
    board.report(None)
    assert board.condition is phase
    assert serving_is.serves == (trouble is not Trouble.HISTORY_BROKEN)


def test_listeners_are_told_of_each_change_and_of_no_other() -> None:
    board = ConditionBoard()
    received: list[tuple[Condition, Trouble | None]] = []
    board.on_change(lambda: received.append(reading(board)))
    board.enter(Condition.SERVING)
    board.enter(Condition.SERVING)
    board.report(Trouble.NO_SPACE)
    board.report(Trouble.NO_SPACE)
    board.report(None)
    assert received == [
        (Condition.SERVING, None),
        (Condition.DEGRADED, Trouble.NO_SPACE),
        (Condition.SERVING, None),
    ]


def test_a_router_without_nodes_is_healthy_and_says_that_it_serves_no_session() -> None:
    board = ConditionBoard()
    board.report_nodes(False)
    assert reading(board) == (Condition.STARTING, None)
    board.enter(Condition.SERVING)
    assert (board.condition, board.condition.serves, board.serves_sessions) == (Condition.NO_NODES, True, False)
    board.report(Trouble.UNAVAILABLE)
    assert reading(board) == (Condition.NO_NODES, Trouble.UNAVAILABLE)
    board.report_nodes(True)
    assert (board.condition, board.serves_sessions) == (Condition.DEGRADED, True)
    board.report(Trouble.HISTORY_BROKEN)
    assert (board.condition, board.serves_sessions) == (Condition.FENCED, False)
    board.report(None)
    board.enter(Condition.DRAINING)
    board.report_nodes(False)
    assert (board.condition, board.serves_sessions) == (Condition.DRAINING, False)


class AnsweringEtcd(ScriptedEtcd):
    """Takes transactions, or fails as the test says."""

    def __init__(self) -> None:
        super().__init__(Keys("c"))
        self.error: EtcdError | None = None

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Put | Delete | Get],
        failure: Sequence[Get] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        if self.error is not None:
            raise self.error
        assert all(compare.revision < 0 for compare in compares)  # it must never hold
        return TxnResult(False, Revision(1), ())


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (EtcdUnavailable(), Trouble.UNAVAILABLE),
        (EtcdError(), Trouble.UNAVAILABLE),
        (EtcdNoSpace(), Trouble.NO_SPACE),
        (EtcdHistoryBroken(), Trouble.HISTORY_BROKEN),
    ],
)
async def test_the_probe_tells_what_is_wrong_and_that_it_is_over(error: EtcdError, trouble: Trouble) -> None:
    clock, board = FakeClock(), ConditionBoard()
    async with AnsweringEtcd() as etcd:
        etcd.error = error
        running = asyncio.create_task(CoordinatorProbe(etcd, etcd.keys, clock, board).run())
        async with asyncio.timeout(PATIENCE_S):
            due_s = await clock.next_due_s()
            assert reading(board) == (Condition.STARTING, trouble)
            assert due_s == clock.now_s() + PROBE_S
            etcd.error = None
            clock.advance_to(due_s)
            await clock.next_due_s()
            assert reading(board) == (Condition.STARTING, None)
        running.cancel()
        await asyncio.wait([running])
