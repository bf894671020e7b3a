"""A turn's place among the turns that the node runs at the same time, and how it asks without holding one.

Guarantees: a turn that waits for an answer holds no place, and takes one again before it goes on; its time rests from
the question until then; a turn that ends while it waits gives up nothing that it does not have. Used by the session.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from agent_node.asking import Asking
from agent_node.bounded import TimeLeft
from agentring.v1 import session_pb2


class RunningPlace:
    """Resource handling: `async with`."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        """places: the node's."""
        self._places = places
        self._has_one = False

    async def __aenter__(self) -> "RunningPlace":
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()

    async def take(self) -> None:
        """Waits for a place. Cancellation: there is none."""
        await self._places.acquire()
        self._has_one = True

    def give_up(self) -> None:
        """Lets another turn have it."""
        if self._has_one:
            self._has_one = False
            self._places.release()


class TurnQuestions:
    """Questions of one run."""

    def __init__(self, asking: Asking, turn_id: str, place: RunningPlace) -> None:
        self._asking = asking
        self._turn_id = turn_id
        self._place = place

    async def ask(self, ordinal: int, tell: Callable[[str], None], time: TimeLeft) -> session_pb2.Input:
        """As Questions."""
        if (known := self._asking.answer(self._turn_id, ordinal)) is not None:
            return known
        time.hold()
        self._place.give_up()
        try:
            answer = await self._asking.ask(self._turn_id, ordinal, tell)
            await self._place.take()
        finally:
            time.go_on()
        return answer
