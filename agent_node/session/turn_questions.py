"""How a turn asks without holding one of the node's places for running turns.

Guarantees: a turn that waits for an answer holds no place, and takes one again before it goes on; its time rests from
the question until then. Used by the session.
"""

from collections.abc import Callable

from agent_node.run.slots import RunSlot
from agent_node.run.time_limit import PausableDeadline
from agent_node.session.questions import SessionQuestions
from agentring.v1 import session_pb2


class TurnQuestions:
    """Questions of one run."""

    def __init__(self, asking: SessionQuestions, turn_id: str, place: RunSlot) -> None:
        self._asking = asking
        self._turn_id = turn_id
        self._place = place

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """As Questions."""
        if (known := self._asking.answer(self._turn_id, ordinal)) is not None:
            return known
        time.hold()
        self._place.give_up()
        try:
            answer = await self._asking.ask(self._turn_id, ordinal, question, tell)
            await self._place.take()
        finally:
            time.go_on()
        return answer
