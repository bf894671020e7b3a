"""The highest epoch that this router has seen of each session and task.

Guarantees, as long as a session is remembered: an answer under a lower epoch than one that was seen before is refused,
so a node that does not know yet that it lost a session cannot answer for it, not even from what it still holds in
memory; and where etcd's data went back, its old epochs are not believed. Bounded: the least lately used are forgotten.
Pure. Called by the relay once for each call, at the node's headers.
"""

from collections import OrderedDict

from agentring.ids import SessionRef, TaskRef

Ref = SessionRef | TaskRef


class Epochs:
    """Epochs by session or task."""

    def __init__(self, size: int) -> None:
        """size: how many are remembered."""
        self._size = size
        self._highest: OrderedDict[str, int] = OrderedDict()
        """By ring keys, no two of which are the same."""

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._highest)

    def admits(self, ref: Ref, epoch: int) -> bool:
        """Whether the epoch is as high as any seen before; it is then remembered."""
        highest, key = self._highest, ref.ring_key
        known = highest.get(key)
        if known is None:
            highest[key] = epoch
            if len(highest) > self._size:
                highest.popitem(last=False)
            return True
        highest.move_to_end(key)
        if epoch > known:
            highest[key] = epoch
        return epoch >= known
