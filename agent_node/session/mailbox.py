"""The turns that wait in a session: first come, first served, at most so many.

Written by the intake, read by the session's one turn loop. Sessions that are idle are many and have one each, so an
empty one is small: an asyncio.Event and a deque would each take 760 bytes.
"""

import asyncio
from dataclasses import dataclass

from agent_node.run.call_terms import NO_TERMS, CallTerms
from agentring.errors import MailboxFull
from agentring.v1 import session_pb2


@dataclass
class WaitingTurn:
    """An accepted turn and its input."""

    turn_id: str
    input: session_pb2.Input
    trace: str = ""
    """Of the call that brought it; empty: none, or it came to an earlier owner."""
    terms: CallTerms = NO_TERMS
    """Likewise, those that agents may see; they are kept with the turn."""


class Mailbox:
    """A bounded queue from which a turn can also be taken back."""

    def __init__(self, size: int) -> None:
        """size: how many turns may wait."""
        self._size = size
        self._turns: list[WaitingTurn] = []
        self._filled: asyncio.Future[None] | None = None
        """What the reader waits for."""
        self._failure: Exception | None = None

    def __len__(self) -> int:
        """How many turns wait."""
        return len(self._turns)

    @property
    def is_full(self) -> bool:
        """Whether no other turn may wait."""
        return len(self._turns) >= self._size

    def check_capacity(self) -> None:
        """Raises MailboxFull."""
        if self.is_full:
            raise MailboxFull

    def requeue(self, turn: WaitingTurn) -> None:
        """Appends a turn that an earlier owner had accepted, also where the mailbox is full."""
        self._turns.append(turn)
        self._wake()

    def put(self, turn: WaitingTurn) -> None:
        """Appends a turn. Raises MailboxFull."""
        self.check_capacity()
        self.requeue(turn)

    async def get(self) -> WaitingTurn:
        """Takes the oldest turn, once there is one. Raises the error of `fail`. Cancellation: no turn is lost."""
        while self._failure is None and not self._turns:
            self._filled = asyncio.get_running_loop().create_future()
            await self._filled
        if self._failure is not None:
            raise self._failure
        return self._turns.pop(0)

    def fail(self, error: Exception) -> None:
        """`get` raises this error from now on."""
        self._failure = error
        self._wake()

    def take_back(self, turn_id: str) -> bool:
        """Removes a turn that waits; False: it does not."""
        for turn in self._turns:
            if turn.turn_id == turn_id:
                self._turns.remove(turn)
                return True
        return False

    def take_back_all(self) -> list[WaitingTurn]:
        """Removes and returns all that wait."""
        turns, self._turns = self._turns, []
        return turns

    def _wake(self) -> None:
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)
