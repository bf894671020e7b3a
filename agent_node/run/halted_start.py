"""What a turn or a task's run waits for before it begins: the end of a halt, then one of the node's slots."""

from agent_node.halt.halts import Halts
from agent_node.run.slots import RunSlot
from agentring.ids import SessionRef, TaskRef

HALTED = "HALTED"
"""Why a halt has cancelled a turn or a task."""


async def acquire_slot(halts: Halts, ref: SessionRef | TaskRef, agent: str, slot: RunSlot) -> bool:
    """Returns with the slot once nothing holds the run. False: it is to be cancelled, and no slot is held.
    Cancellation: likewise none is held."""
    while True:
        while (halt := halts.find(ref, agent)) is not None:
            if not halt.hold:
                return False
            await halts.wait_changed()
        await slot.acquire()
        if halts.find(ref, agent) is None:
            return True
        slot.release()
