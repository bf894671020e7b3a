"""What the steps of `ctx.once` may take on a node. Used by keys.py."""

from dataclasses import dataclass

from agent_node.store.once_records import Ending
from agentring.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_UNKNOWN


@dataclass(frozen=True, slots=True)
class OnceLimits:
    """What the steps of a node may take."""

    max_keys: int
    max_result_bytes: int
    retention_s: float
    """How long an outcome is replayed."""
    failure_s: float
    """How long a failure is everybody's, where the step may be run again."""

    def held_s(self, ending: Ending, *, idempotent: bool) -> float | None:
        """How long a volatile store's key is held for the ending's sake; None: until somebody resolves it."""
        if ending.state == TASK_STATE_UNKNOWN:
            return None
        may_run_again = ending.state == TASK_STATE_FAILED and idempotent
        return self.failure_s if may_run_again else self.retention_s
