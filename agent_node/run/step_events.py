"""The steps of a run as events, for people who watch it.

Guarantees: a step that takes longer than SHOWN_AFTER_S is told while it runs, and that it ended then is, before its
outcome is committed, so that one commit has both; no other step is, nor more than MOST_SHOWN of one attempt: a run of
thousands of short steps floods nobody, and costs no event. A step that is answered from its record is not told again.
Used by publication.py.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from agent_node.run.run_log import RunLog
from agent_node.step.identity import ID_BYTES
from agent_node.store.step_records import StepState, StoredStep
from agentring.errors import AgentringError
from agentring.v1 import session_pb2

SHOWN_AFTER_S = 0.25
MOST_SHOWN = 1_000

_OUTCOMES = {
    StepState.COMPLETED: session_pb2.STEP_OUTCOME_COMPLETED,
    StepState.FAILED: session_pb2.STEP_OUTCOME_FAILED,
    StepState.CANCELLED: session_pb2.STEP_OUTCOME_CANCELLED,
    StepState.UNKNOWN: session_pb2.STEP_OUTCOME_UNKNOWN,
}


@dataclass(slots=True)
class _UnderWay:
    row: StoredStep
    since_s: float
    timer: asyncio.TimerHandle | None = None
    """None: it has been told."""


class StepEvents:
    """Of one attempt."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._under_way: dict[bytes, _UnderWay] = {}
        self._shown = 0

    def begun(self, row: StoredStep, replayed: int) -> None:
        """A step begins. replayed: as StepBegun.replayed_steps."""
        step = self._under_way[row.step_id] = _UnderWay(row, time.monotonic())
        step.timer = asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self._show, step, replayed)

    def ended(self, row: StoredStep, state: StepState) -> None:
        """It has an outcome."""
        if (step := self._under_way.pop(row.step_id, None)) is None:
            return
        if step.timer is not None:
            step.timer.cancel()
            return
        ended = session_pb2.StepEnded(
            name=row.name, step_id=row.step_id.hex(), parent_id=_parent_id(row), outcome=_OUTCOMES[state]
        )
        ended.duration.FromNanoseconds(int((time.monotonic() - step.since_s) * 1e9))
        self._append(session_pb2.Event(step_ended=ended))

    def end(self) -> None:
        """The run is over: what is under way was cut off."""
        for step in list(self._under_way.values()):
            self.ended(step.row, StepState.CANCELLED)

    def _show(self, step: _UnderWay, replayed: int) -> None:
        if self._shown == MOST_SHOWN:
            return
        self._shown += 1
        step.timer = None
        row = step.row
        begun = session_pb2.StepBegun(
            name=row.name, step_id=row.step_id.hex(), parent_id=_parent_id(row), replayed_steps=replayed
        )
        begun.begin_time.FromNanoseconds(time.time_ns() - int((time.monotonic() - step.since_s) * 1e9))
        self._append(session_pb2.Event(step_begun=begun))

    def _append(self, event: session_pb2.Event) -> None:
        with suppress(AgentringError, RuntimeError):  # the run's own ending says what ended it
            self._log.append(event)


def _parent_id(row: StoredStep) -> str:
    return row.outer_ids[-ID_BYTES:].hex()
