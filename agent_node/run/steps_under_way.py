"""Which steps of a run are under way, for those who look at its session or task (GetSession, GetTask).

Guarantees: costs a run without steps nothing, one with steps an entry each. Kept by what records the steps on the node,
also for a run in a process of its own.
"""

import time
from collections.abc import Sequence
from itertools import islice

from agent_node.step.identity import ID_BYTES
from agent_node.step.journal import QUESTION
from agent_node.store.step_records import StepState, StoredStep
from agentring.v1 import session_pb2

MOST_SHOWN = 100


class StepsUnderWay:
    """Of one attempt."""

    def __init__(self) -> None:
        self._since: dict[bytes, tuple[StoredStep, int]] = {}

    def begun(self, step: StoredStep) -> None:
        """Its function is about to be called."""
        if step.name != QUESTION:  # which is shown as what it is
            self._since[step.step_id] = (step, time.time_ns())

    def recorded(self, steps: Sequence[StoredStep]) -> None:
        """Rows that were committed."""
        for step in steps:
            if step.state not in (StepState.STARTED, StepState.NOTED):
                self._since.pop(step.step_id, None)

    def shown(self) -> list[session_pb2.OpenStep]:
        """The oldest, at most MOST_SHOWN."""
        found = []
        for step, since_ns in islice(self._since.values(), MOST_SHOWN):
            one = session_pb2.OpenStep(
                name=step.name, attempt=step.attempt, depth=len(step.outer_ids) // ID_BYTES, step_id=step.step_id.hex()
            )
            one.begin_time.FromNanoseconds(since_ns)
            found.append(one)
        return found
