"""What a session lets in: turns and answers, one at a time, each stored before anybody is told that it was accepted.

Guarantees: a turn_id that was accepted before is recognised, however long ago, and nothing is changed for it; what is
looked at before a turn is accepted still holds when the store has it; nothing is let in once the session is closed or
on its way out. Used by the session.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agent_node.run.input_fingerprint import input_fingerprint
from agent_node.run.slots import RunSlots
from agent_node.session.journal import TurnJournal
from agent_node.session.mailbox import WaitingTurn
from agent_node.session.questions import SessionQuestions
from agent_node.session.turn_loop import TurnLoop
from agent_node.store import StoredTurn
from agentring.errors import NodeDraining, SessionClosed, TurnIdReused, TurnInProgress
from agentring.v1 import session_pb2


class TurnIntake:
    """The way into one session."""

    __slots__ = (
        "_asking",
        "_cancel_all",
        "_places",
        "_runner",
        "_turns",
        "accepting",
        "closed",
        "draining",
        "idle",
    )

    def __init__(
        self,
        turns: TurnJournal,
        runner: TurnLoop,
        asking: SessionQuestions,
        places: RunSlots,
        cancel_all: Callable[[str], Awaitable[None]],
        closed: bool,
    ) -> None:
        """places: the node's, for running turns; cancel_all: ends every turn, for the reason given."""
        self._turns = turns
        self._runner = runner
        self._asking = asking
        self._places = places
        self._cancel_all = cancel_all
        self.accepting = asyncio.Lock()
        """Held while something is let in."""
        self.idle = asyncio.Event()
        """Set while every accepted turn has ended, and once the session is dropped."""
        self.idle.set()
        self.draining = False
        self.closed = closed

    async def submit(
        self, turn_id: str, given: session_pb2.Input, on_busy: session_pb2.OnBusy.ValueType, *, again: bool
    ) -> tuple[StoredTurn, bool]:
        """As Session.submit; the caller has it carried out to its end."""
        fingerprint = input_fingerprint(given)
        async with self.accepting:  # what is checked here must still hold when the store has answered
            known = self._turns.known(turn_id)
            if known is None and self._would_disturb(on_busy):
                known = await self._turns.find(turn_id)  # it may have ended long ago, and must change nothing
            if known is not None:
                if known.fingerprint != fingerprint:
                    raise TurnIdReused
                return known, False
            self._check_accepts(on_busy)
            if self.idle.is_set():
                self._places.check_room(self._turns.stored.ref.tenant)
            if on_busy == session_pb2.ON_BUSY_INTERRUPT:
                await self._cancel_all("INTERRUPTED")
                self._check_accepts(on_busy)
            turn, fresh = await self._turns.accept(turn_id, fingerprint, given, self._told_of_others, again=again)
            if turn.fingerprint != fingerprint:
                raise TurnIdReused
            if fresh:
                self.idle.clear()
                self._runner.mailbox.put(WaitingTurn(turn_id, given))
            return turn, fresh

    async def reply(self, input_id: str, given: session_pb2.Input) -> None:
        """As Session.reply; the caller has it carried out to its end."""
        async with self.accepting:  # what is answered here is in the store before the last checkpoint
            self._turns.check()
            if self.closed:
                raise SessionClosed
            if self.draining:
                raise NodeDraining
            await self._asking.reply(input_id, given)

    def _told_of_others(self) -> session_pb2.TurnAccepted:
        ahead = self._runner.turns_ahead
        return session_pb2.TurnAccepted(turns_ahead=ahead, questions=self._asking.open_questions() if ahead else ())

    def _would_disturb(self, on_busy: session_pb2.OnBusy.ValueType) -> bool:
        """Whether a new turn would be refused, or others be cancelled for it."""
        if self.idle.is_set():
            return not self._places.has_room(self._turns.stored.ref.tenant)
        may_wait = on_busy not in (session_pb2.ON_BUSY_REJECT, session_pb2.ON_BUSY_INTERRUPT)
        return not (may_wait and self._runner.mailbox.has_room)

    def _check_accepts(self, on_busy: session_pb2.OnBusy.ValueType) -> None:
        self._turns.check()
        if self.closed:
            raise SessionClosed
        if self.draining:
            raise NodeDraining
        if on_busy == session_pb2.ON_BUSY_REJECT and not self.idle.is_set():
            raise TurnInProgress(self._runner.running_turn_id or "")
        if on_busy != session_pb2.ON_BUSY_INTERRUPT:
            self._runner.mailbox.check_room()
