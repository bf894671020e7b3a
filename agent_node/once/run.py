"""One run of a step, on the node that holds its key. Made by OnceKeys (keys.py)."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from agent_node.store.once_records import Ending, StoredRun
from agentring.cluster.claim import Claim
from agentring.ids import OnceRef


@dataclass(slots=True, eq=False)
class OnceRun:
    """A key that this node holds: its run under way, or, with a volatile store, the one that has ended."""

    claim: Claim
    stored: StoredRun
    ended: "asyncio.Future[Ending | None]"
    """None: the key was released, and the run with it; those that wait ask again."""
    forget_at_s: float | None = None
    """When the key is released; None: not by itself."""
    waits: Counter[OnceRef] = field(default_factory=Counter)
    """What the function waits for (cycles.py)."""

    @property
    def ref(self) -> OnceRef:
        """Its key."""
        return self.stored.ref

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this run."""
        return idempotency_key(self.stored)

    def end(self, ending: Ending | None) -> None:
        """Wakes those that wait; the first call counts."""
        if not self.ended.done():
            self.ended.set_result(ending)


def idempotency_key(stored: StoredRun) -> str:
    """What a tool recognises a repetition by."""
    return f"{stored.ref.tenant}/once/{stored.ref.task_key}/{stored.run_id}"
