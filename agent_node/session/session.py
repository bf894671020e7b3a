"""One session on the node that owns it: accepts turns, has them run one at a time, and ends as a whole.

Guarantees: a turn_id never runs twice (intake.py); every accepted turn ends, and ends once (turn_loop.py). What
changes the session is carried out to its end although whoever asked for it goes away; where the store fails in it,
nobody knows what is stored, so the session fails: `run` raises, and whoever waits here is told.

Made by the host, which also owns the task that runs `run`. The session's services call the rest.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, TypeVar

from agent_node.json_values import from_struct
from agent_node.run.environment import RunEnvironment
from agent_node.run.slots import RunSlots
from agent_node.session.intake import TurnIntake
from agent_node.session.journal import ENDED, TurnJournal
from agent_node.session.mailbox import Mailbox, WaitingTurn
from agent_node.session.questions import SessionQuestions
from agent_node.session.turn_index import TurnEnd
from agent_node.session.turn_loop import TurnLoop
from agent_node.single_flight import SingleFlight
from agent_node.store import Store, StoredSession, StoredTurn
from agentring.agent import Agent
from agentring.cluster.claim import Claim
from agentring.errors import (
    AgentMismatch,
    AgentringError,
    NodeDraining,
    NodeFenced,
    SessionClosed,
    SessionMoving,
)
from agentring.ids import SessionRef
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event

T = TypeVar("T")


class Session:
    """The actor of one session."""

    def __init__(
        self,
        env: RunEnvironment,
        store: Store,
        stored: StoredSession,
        claim: Claim,
        agent: Agent,
        slots: RunSlots,
        tasks: asyncio.TaskGroup,
        *,
        mailbox_size: int,
        max_log_bytes: int,
        max_stored_log_bytes: int,
    ) -> None:
        """slots: the node's places for running turns; tasks: owns what must not end with whoever asked for it."""
        self._env = env
        self._changes: SingleFlight[Hashable, Any] = SingleFlight(tasks)
        self._durable = store.durable
        self.claim = claim
        owned = env.ownership(stored.ref, claim.epoch)
        self._turns = TurnJournal(
            env,
            store,
            stored,
            owned,
            self._changes,
            lambda error: self._runner.fail(error),
            max_log_bytes=max_log_bytes,
            max_stored_log_bytes=max_stored_log_bytes,
        )
        self.log = self._turns.log
        self._asking = SessionQuestions(self._turns, self._changes, stored.inputs.values(), self._rest)
        mailbox = Mailbox(mailbox_size)
        self._runner = TurnLoop(env, agent, claim.epoch, self._turns, self._asking, mailbox, slots, self._set_idle)
        self._intake = TurnIntake(self._turns, self._runner, self._asking, slots, self._cancel_all, stored.closed)
        self._at_rest: asyncio.Event | None = None
        """While it settles; set whenever nothing of its turns goes on by itself: they have ended, or one waits for an
        answer."""
        for turn_id in self._turns.open_ids:
            self._intake.idle.clear()
            mailbox.put_back(WaitingTurn(turn_id, self._turns.get(turn_id).input_message()))
        self.closed_at_s: float | None = None

    @property
    def ref(self) -> SessionRef:
        """Its name."""
        return self.stored.ref

    @property
    def stored(self) -> StoredSession:
        """As the store has it since the last completed turn."""
        return self._turns.stored

    @property
    def closed(self) -> bool:
        """Whether it was closed, by whomever."""
        return self._intake.closed

    @property
    def running_turn_id(self) -> str | None:
        """The turn that has left the mailbox and has not ended."""
        return self._runner.running_turn_id

    @property
    def waiting_turns(self) -> int:
        """How many turns wait in the mailbox."""
        return len(self._runner.mailbox)

    @property
    def questions(self) -> list[session_pb2.Question]:
        """As SessionQuestions.open_questions."""
        return self._asking.open_questions()

    @property
    def is_idle(self) -> bool:
        """Whether all its turns have ended, or the running one waits for an answer, and no stream is attached."""
        return (self._intake.idle.is_set() or self._asking.is_waiting) and not self.log.readers

    def check_agent(self, agent: str) -> None:
        """Raises AgentMismatch unless `agent` is empty or the one it is bound to."""
        if agent not in ("", self.stored.agent):
            raise AgentMismatch(self.stored.agent)

    def check_delivery(self) -> None:
        """Raises NodeFenced from the fence on: a node that was frozen tells nobody anything more."""
        self._env.lease.check_delivery()

    def turn(self, turn_id: str) -> StoredTurn:
        """Raises TurnNotFound."""
        return self._turns.get(turn_id)

    def lost_story(self, turn: StoredTurn) -> list[Event]:
        """As MissingEvents.of."""
        return self._turns.lost.of(turn)

    def missed(self, after_seq: int, turn: StoredTurn | None = None) -> list[Event]:
        """As MissingEvents.after."""
        return self._turns.lost.after(after_seq, turn)

    def follow(self, turn: StoredTurn) -> TurnEnd:
        """As TurnJournal.follow."""
        return self._turns.follow(turn)

    def tells_on(self, epoch: int | None) -> bool:
        """Whether what an owner under this epoch told is the beginning of what is told here; None: one that is not
        known, and is believed."""
        return self._durable or epoch in (None, self.claim.epoch)

    @property
    def open_turns(self) -> list[StoredTurn]:
        """Those that have not ended, in the order of their acceptance."""
        return [self._turns.get(turn_id) for turn_id in self._turns.open_ids]

    async def submit(
        self,
        turn_id: str,
        given: session_pb2.Input,
        on_busy: session_pb2.OnBusy.ValueType,
        *,
        again: bool = False,
    ) -> tuple[StoredTurn, bool]:
        """Accepts a turn; False: it was accepted before, and this changed nothing. again: another owner may have it.

        Raises MalformedRequest, TurnIdReused, TurnInProgress, MailboxFull, TooManyTurns, SessionClosed, what the
        session was dropped with, and what the store raises; NodeDraining once another node may own the session:
        whoever was told before would be led back here by the claim. Cancellation: the turn may be accepted all the
        same, and then runs.
        """
        from_struct(given.data)  # what is no JSON is refused now, not when the turn runs
        return await self._let_in(partial(self._intake.submit, turn_id, given, on_busy, again=again))

    async def reply(self, input_id: str, given: session_pb2.Input) -> None:
        """Stores the answer to a question of a turn, which then goes on.

        Raises InputNotFound, InputAnswered, and as `submit`. Cancellation: it may be answered all the same.
        """
        from_struct(given.data)
        await self._let_in(partial(self._intake.reply, input_id, given))

    async def cancel(self, turn_id: str, reason: str = "CLIENT") -> StoredTurn:
        """Cancels a turn that waits or runs, and returns it once it has ended. Raises TurnNotFound, what the session
        was dropped with, and what the store raises. Cancellation: the turn is cancelled all the same."""
        turn = await self._turns.look_up(turn_id)
        if turn.state not in ENDED:
            turn = await self._change(turn_id, partial(self._cancel, turn_id, reason))
        return turn

    async def close(self, now_s: float) -> None:
        """Cancels every turn, marks the session closed and ends its streams. Closing it again changes nothing.

        Raises what the session was dropped with, and what the store raises. Cancellation: it is closed all the same.
        """
        if self.closed_at_s is None:
            await self._change(Session.close, partial(self._close, now_s))

    def stop_if_quiet(self) -> bool:
        """Takes no more turns from now on, if all that were accepted have ended and none is being accepted."""
        intake = self._intake
        intake.draining = intake.draining or (intake.idle.is_set() and not intake.accepting.locked())
        return intake.draining and intake.idle.is_set()

    async def settle(self, timeout_s: float) -> None:
        """Takes no more turns, and lets the accepted ones end until timeout_s. In a volatile store what has not ended
        then is cancelled; in a durable one it is left to the next owner, which runs it again."""
        self._intake.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                async with self._intake.accepting:  # whatever was let in before is accepted now
                    pass
                while not self._intake.idle.is_set():
                    if self._durable and self._asking.is_waiting:
                        break  # it may wait for days: the next owner lets it
                    self._at_rest = asyncio.Event()
                    await self._at_rest.wait()
                else:
                    return
        except TimeoutError:
            pass
        async with self._intake.accepting:  # what is let in only now must not begin behind the last checkpoint
            await (self._runner.cut_off() if self._durable else self._cancel_all("NODE_DRAINING"))

    async def hand_on(self) -> None:
        """Once settled: stores the last checkpoint for the next owner. The caller then releases the claim, and last of
        all drops the session: its streams come back for the next owner at once."""
        if self._durable and not self.closed:
            await self._turns.release()

    async def passivate(self) -> bool:
        """Stores the last checkpoint and ends, unless a turn has not ended or a stream is attached: False. Raises what
        the session was dropped with, and what the store raises. Cancellation: it is carried out all the same."""
        return await self._change(Session.passivate, self._passivate)

    def drop(self, error: AgentringError) -> None:
        """Ends the streams at once; the caller cancels the task that runs `run`. Nothing more is told or stored."""
        self.log.end(error)
        self._intake.idle.set()
        self._rest()
        self._runner.drop()

    async def run(self) -> None:
        """Runs the turns of the mailbox, one at a time, until cancelled. Raises what the store raises, NodeFenced."""
        await self._runner.run()

    async def _let_in(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await self._change(object(), change)
        except NodeDraining:
            await self.log.until_ended()
            self.log.check()
            raise

    async def _change(self, name: Hashable, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self.log.check()
        changed: T = await self._changes.get(name, change)
        return changed

    async def _cancel(self, turn_id: str, reason: str) -> StoredTurn:
        await self._runner.cancel(turn_id, reason)
        if (turn := await self._turns.look_up(turn_id)).state not in ENDED:
            self._turns.check()
            raise NodeFenced
        return turn

    async def _cancel_all(self, reason: str) -> None:
        # All at once, so that none of those that wait starts when the running one ends.
        changes = [self._changes.begin(each, partial(self._cancel, each, reason)) for each in self._turns.open_ids]
        for change in changes:
            await asyncio.shield(change)
        self._set_idle()

    async def _close(self, now_s: float) -> None:
        async with self._intake.accepting:
            self._intake.closed = True
        await self._cancel_all("SESSION_CLOSED")
        await self._turns.close()
        self.closed_at_s = now_s
        self.log.end(SessionClosed())

    async def _passivate(self) -> bool:
        async with self._intake.accepting:
            if not self.is_idle:
                return False
            await self._runner.cut_off()  # a turn that waits for an answer: the next owner runs it again
            await self._turns.release()
            self.log.end(SessionMoving())  # whoever still holds this actor asks again, and finds the next one
            return True

    def _set_idle(self) -> None:
        if not self._turns.open_ids:
            self._intake.idle.set()
            self._rest()

    def _rest(self) -> None:
        if self._at_rest is not None:
            self._at_rest.set()
