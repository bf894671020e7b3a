"""How a turn asks without holding one of the node's run slots.

Guarantees: a turn that waits for an answer holds no slot, and acquires one again before it goes on; its deadline is
paused from the question until then. Used by the session.
"""

from collections.abc import Callable

from agent_node.run.slots import RunSlot
from agent_node.run.time_limit import PausableDeadline
from agent_node.session.questions import SessionQuestions
from agentring.v1 import session_pb2


class TurnQuestions:
    """Questions of one run."""

    def __init__(self, asking: SessionQuestions, turn_id: str, slot: RunSlot) -> None:
        self._asking = asking
        self._turn_id = turn_id
        self._slot = slot

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, publish: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """As Questions."""
        if (known := self._asking.answer(self._turn_id, ordinal)) is not None:
            return known
        time.pause()
        self._slot.release()
        try:
            answer = await self._asking.ask(self._turn_id, ordinal, question, publish)
            await self._slot.acquire()
        finally:
            time.resume()
        return answer
