"""One session on the node that owns it, as its host and the services call it.

Guarantees: a turn_id never runs twice (intake.py); every accepted turn ends, and ends once (turn_loop.py). What changes
the session is carried out to its end although the caller goes away; where the store fails in it, nobody knows what is
stored, so the session fails: `run` raises, and so does every call that waits here.

Made by the host, which also owns the task that runs `run`. The state and the stages of its life: state.py.
"""

from functools import partial

from agent_node.events.waiting import until_ended
from agent_node.run.call_terms import NO_TERMS, CallTerms
from agent_node.run.input_parts import check_input
from agent_node.session import intake, leaving, turn_loop
from agent_node.session.state import ENDED, SessionState
from agent_node.session.uninterrupted import run_to_end
from agent_node.store import StoredTurn
from agentring.errors import AgentMismatch, AgentringError, NodeDraining
from agentring.v1 import session_pb2


class Session(SessionState):
    """The actor of one session."""

    __slots__ = ()

    @property
    def running_turn_id(self) -> str | None:
        """The turn that has left the mailbox and has not ended."""
        return self.running.turn_id if self.running else None

    def check_agent(self, agent: str) -> None:
        """Raises AgentMismatch unless `agent` is empty or the one it is bound to."""
        if agent not in ("", self.stored.agent):
            raise AgentMismatch(self.stored.agent)

    def continues_log_of(self, epoch: int | None) -> bool:
        """Whether what an owner of this epoch published is the beginning of this log. None: the epoch is not known, and
        is taken for one whose log it is."""
        return self.store.durable or epoch in (None, self.claim.epoch)

    async def submit(
        self,
        turn_id: str,
        input: session_pb2.Input,
        on_busy: session_pb2.OnBusy.ValueType,
        *,
        retry: bool = False,
        terms: CallTerms = NO_TERMS,
    ) -> tuple[StoredTurn, bool]:
        """Accepts a turn; False: it was accepted before, and this changed nothing. retry: another owner may have it;
        terms: the call's.

        Raises MalformedRequest, TurnIdReused, TurnInProgress, MailboxFull, TooManyTurns, QuotaExceeded, SessionClosed,
        what the session was dropped with, and what the store raises; NodeDraining only once another node may own the
        session, since until then the claim would lead the caller back here. Cancellation: the turn may be accepted all
        the same, and then runs.
        """
        check_input(input)  # what is no JSON is refused now, not when the turn runs
        self.log.check()
        try:
            accept = partial(intake.accept, self, turn_id, input, on_busy, retry, terms)
            # Where the store does not wait, an acceptance that has begun to change something is not cut off.
            return await (run_to_end(self.tasks, accept) if self.store.waits else accept())
        except NodeDraining as error:
            draining = error
        await self._has_left()
        raise draining

    async def reply(self, input_id: str, input: session_pb2.Input) -> None:
        """Stores the answer to a question of a turn, which then goes on.

        Raises InputNotFound, InputAnswered, and as `submit`. Cancellation: it may be answered all the same.
        """
        check_input(input, may_have_files=False)
        self.log.check()
        try:
            return await run_to_end(self.tasks, partial(intake.answer, self, input_id, input))
        except NodeDraining as error:
            draining = error
        await self._has_left()
        raise draining

    async def put_file(self, data: bytes) -> None:
        """Stores a file, to which turns may refer from then on. Raises InvalidFile, FilesFull, and as `submit`.
        Cancellation: it may be stored all the same."""
        self.log.check()
        try:
            return await run_to_end(self.tasks, partial(intake.take_file, self, data))
        except NodeDraining as error:
            draining = error
        await self._has_left()
        raise draining

    async def cancel(self, turn_id: str, reason: str = "CLIENT") -> StoredTurn:
        """Cancels a turn that waits or runs, and returns it once it has ended. Raises TurnNotFound, what the session
        was dropped with, and what the store raises. Cancellation: the turn is cancelled all the same."""
        turn = await self.look_up_turn(turn_id)
        if turn.state not in ENDED:
            self.log.check()
            turn = await self.flights.get(turn_id, partial(turn_loop.cancel, self, turn_id, reason))
        return turn

    async def cancel_all(self, reason: str) -> None:
        """Cancels every turn, and returns once they have ended. Raises as `cancel`. Cancellation: likewise."""
        await turn_loop.cancel_all(self, reason)

    async def close(self, now_s: float) -> None:
        """Cancels every turn, marks the session closed and ends its streams. Closing it again changes nothing.

        Raises what the session was dropped with, and what the store raises. Cancellation: it is closed all the same.
        """
        if self.closed_at_s is None:
            self.log.check()
            await self.flights.get(leaving.close, partial(leaving.close, self, now_s))

    def stop_if_quiet(self) -> bool:
        """Takes no more turns from now on, if all that were accepted have ended and none is being accepted."""
        self.draining = self.draining or (self.all_ended and not self.lock.locked())
        return self.draining and self.all_ended

    async def settle(self, timeout_s: float) -> None:
        """Takes no more turns, and lets the accepted ones end until timeout_s. In a volatile store what has not ended
        then is cancelled; in a durable one it is left to the next owner, which runs it again."""
        await leaving.settle(self, timeout_s)

    async def hand_on(self) -> None:
        """Once settled: stores the last checkpoint for the next owner. The caller then releases the claim, and last of
        all drops the session: its streams come back for the next owner at once."""
        if self.store.durable and not self.closed:
            await leaving.release(self)

    async def passivate(self) -> bool:
        """Stores the last checkpoint and ends, unless the session is not idle: False. Raises what the session was
        dropped with, and what the store raises. Cancellation: it is carried out all the same."""
        self.log.check()
        return bool(await self.flights.get(leaving.passivate, partial(leaving.passivate, self)))

    def drop(self, error: AgentringError) -> None:
        """Ends the streams at once; the caller cancels the task that runs `run`. Nothing more is published or
        stored."""
        self.release_turns()
        self.log.end(error)
        self.changed.wake()

    async def run(self) -> None:
        """Runs the turns of the mailbox, one at a time, until cancelled. Raises what the store raises, NodeFenced."""
        await turn_loop.run_turns(self)

    async def _has_left(self) -> None:
        """Returns once another node may own the session; raises what it left with."""
        await until_ended(self.log)
        self.log.check()
