"""The end of a run that was decided before its agent was asked to end, and why.

Guarantees: an agent that is cancelled may still record steps, to undo others say; where its node is lost meanwhile the
next owner finds that the end was decided, and ends the run instead of executing it again, which would go another way.
Stored as the row of ordinal 0, beside the steps, and only where there may be some. Used by sessions and tasks.
"""

from agent_node.store.step_records import Life, StepState, StoredStep
from agent_node.store.step_store import StepStore


def decided(reason: str, attempt: int) -> StoredStep:
    """The row that says so. reason: TURN_DEADLINE, or as turn_cancelled.reason."""
    return StoredStep(0, b"", b"", "end", attempt, StepState.ENDING, value=reason.encode(), size_bytes=len(reason))


async def decided_reason(store: StepStore, life: Life) -> str:
    """Why the run's end was decided; empty: it was not. Raises what the store raises."""
    rows = await store.read(life, -1)
    return rows[0].value.decode() if rows and rows[0].state == StepState.ENDING else ""
