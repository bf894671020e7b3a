"""One session on the node that owns it: accepts turns, runs them one at a time, and keeps their story.

Guarantees: a turn is stored before anybody is told that it was accepted, and its outcome before anybody is told that it
ended; a turn_id never runs twice; every accepted turn ends, and ends once. What ends a turn is decided at one place
(`_finish`), so a cancel that comes while the agent returns is either before or after, never both.

Made by the host, which also owns the task that runs `run`. The session's services call the rest.
"""

import asyncio
from dataclasses import dataclass, field, replace

import structlog

from agent_node.agent import Agent, PastTurn
from agent_node.audit import AuditLog
from agent_node.event_log import EventLog
from agent_node.fingerprint import input_fingerprint
from agent_node.json_values import from_struct
from agent_node.mailbox import Mailbox, WaitingTurn
from agent_node.store import Store, StoredSession, StoredTurn, TurnCommit
from agent_node.turn import Completed, Failed, RunEnvironment, TurnInput, run_agent
from agentring.cluster.claim import Claim
from agentring.errors import (
    AgentMismatch,
    AgentringError,
    NodeDraining,
    NodeFenced,
    SessionClosed,
    TurnIdReused,
    TurnInProgress,
    TurnNotFound,
)
from agentring.ids import SessionRef
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import Event

_log = structlog.get_logger()

ENDED = (session_pb2.TURN_STATE_COMPLETED, session_pb2.TURN_STATE_FAILED, session_pb2.TURN_STATE_CANCELLED)


@dataclass(slots=True)
class _Running:
    """The turn that has left the mailbox."""

    turn_id: str
    task: asyncio.Task[Completed | Failed | None]
    cancel_reason: str = "CLIENT"
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Session:
    """The actor of one session."""

    def __init__(
        self,
        env: RunEnvironment,
        store: Store,
        stored: StoredSession,
        claim: Claim,
        agent: Agent,
        slots: asyncio.Semaphore,
        *,
        mailbox_size: int,
        max_log_bytes: int,
    ) -> None:
        """slots: the node's places for running turns."""
        self._env = env
        self._store = store
        self._agent = agent
        self._slots = slots
        self._mailbox = Mailbox(mailbox_size)
        self._turns = dict(stored.turns)
        self._outcomes: dict[str, Event] = {}
        """The last event of each turn that has ended."""
        self._running: _Running | None = None
        self._accepting = asyncio.Lock()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.stored = stored
        self.claim = claim
        self.log = EventLog(claim.epoch, max_log_bytes)
        self.closed = stored.closed
        self.closed_at_s: float | None = None

    @property
    def ref(self) -> SessionRef:
        """Its name."""
        return self.stored.ref

    @property
    def audit(self) -> AuditLog:
        """Where its transitions go."""
        return self._env.audit

    @property
    def running_turn_id(self) -> str | None:
        """The turn that has left the mailbox and has not ended."""
        return self._running.turn_id if self._running else None

    @property
    def waiting_turns(self) -> int:
        """How many turns wait in the mailbox."""
        return len(self._mailbox)

    def check_agent(self, agent: str) -> None:
        """Raises AgentMismatch unless `agent` is empty or the one it is bound to."""
        if agent not in ("", self.stored.agent):
            raise AgentMismatch(self.stored.agent)

    def turn(self, turn_id: str) -> StoredTurn:
        """Raises TurnNotFound."""
        if (turn := self._turns.get(turn_id)) is None:
            raise TurnNotFound
        return turn

    def lost_story(self, turn: StoredTurn) -> list[Event]:
        """What can still be told of an ended turn whose last event the log has dropped: a gap and the outcome; empty
        where the log has it."""
        outcome = self._outcomes.get(turn.turn_id)
        if outcome is None or outcome.seq >= self.log.oldest_seq:
            return []
        return [self.log.gap(turn.accepted_seq, outcome.seq - 1), outcome]

    async def submit(
        self, turn_id: str, given: session_pb2.Input, on_busy: session_pb2.OnBusy.ValueType
    ) -> tuple[StoredTurn, bool]:
        """Accepts a turn; False: it was accepted before, and this changed nothing.

        Raises MalformedRequest, TurnIdReused, TurnInProgress, MailboxFull, NodeDraining, SessionClosed, and what the
        store raises. Cancellation: the turn may have been accepted all the same.
        """
        from_struct(given.data)  # what is no JSON is refused now, not when the turn runs
        fingerprint = input_fingerprint(given)
        async with self._accepting:  # what is checked here must still hold when the store has answered
            if (known := self._turns.get(turn_id)) is not None:
                if known.fingerprint != fingerprint:
                    raise TurnIdReused
                return known, False
            self._check_accepts(on_busy)
            if on_busy == session_pb2.ON_BUSY_INTERRUPT:
                await self._cancel_all("INTERRUPTED")
            self._env.lease.check()
            turn = StoredTurn(turn_id, fingerprint, session_pb2.TURN_STATE_ACCEPTED, self.log.head_seq + 1)
            await self._store.accept_turn(self.ref, self.claim.epoch, turn)
            ahead = len(self._mailbox) + (self._running is not None)
            accepted = session_pb2.TurnAccepted(turns_ahead=ahead)
            seq = self.log.append(Event(turn_id=turn_id, attempt=1, turn_accepted=accepted))
            turn = self._turns[turn_id] = replace(turn, accepted_seq=seq)
            self.audit.write("turn_accepted", self.ref, epoch=self.claim.epoch, turn=turn_id)
            self._idle.clear()
            self._mailbox.put(WaitingTurn(turn_id, given))
            return turn, True

    async def cancel(self, turn_id: str, reason: str = "CLIENT") -> StoredTurn:
        """Cancels a turn that waits or runs, and returns it once it has ended. Raises TurnNotFound."""
        turn = self.turn(turn_id)
        if turn.state in ENDED:
            return turn
        if self._mailbox.take_back(turn_id):
            await self._finish_cancelled(turn_id, reason)
            self._set_idle()
        elif self._running is not None and self._running.turn_id == turn_id:
            running = self._running
            running.cancel_reason = reason
            running.task.cancel()
            await running.ended.wait()
        if (turn := self._turns[turn_id]).state not in ENDED:
            raise self.log.end_error or NodeFenced()
        return turn

    async def close(self, now_s: float) -> None:
        """Cancels every turn, marks the session closed and ends its streams. Closing it again changes nothing."""
        async with self._accepting:
            if self.closed:
                return
            self.closed = True
        await self._cancel_all("SESSION_CLOSED")
        await self._store.close_session(self.ref, self.claim.epoch)
        self.closed_at_s = now_s
        self.log.end(SessionClosed())

    async def drain(self, timeout_s: float) -> None:
        """Takes no more turns, lets the accepted ones end until timeout_s, cancels the rest and ends the streams."""
        async with self._accepting:
            self._draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            await self._cancel_all("NODE_DRAINING")
        self.log.end(NodeDraining())

    def drop(self, error: AgentringError) -> None:
        """Ends the streams at once; the caller cancels the task that runs `run`. Nothing more is written or stored."""
        self.log.end(error)

    async def run(self) -> None:
        """Runs the turns of the mailbox, one at a time, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                waiting = await self._mailbox.get()
                # Nothing is awaited before it is in `_running`: a turn is always either in the mailbox or cancellable.
                running = self._running = _Running(waiting.turn_id, group.create_task(self._run_turn(waiting)))
                try:
                    await asyncio.wait([running.task])
                    await self._finish(waiting, running)
                finally:
                    self._running = None
                    running.ended.set()
                self._set_idle()

    async def _run_turn(self, waiting: WaitingTurn) -> Completed | Failed | None:
        """None: the lease may be gone."""
        async with self._slots:
            try:
                return await self._run_agent(waiting)
            except NodeFenced:
                return None

    async def _run_agent(self, waiting: WaitingTurn) -> Completed | Failed:
        self._env.lease.check()
        self._turns[waiting.turn_id] = replace(self._turns[waiting.turn_id], state=session_pb2.TURN_STATE_RUNNING)
        self.audit.write("turn_started", self.ref, epoch=self.claim.epoch, turn=waiting.turn_id, attempt=1)
        started = session_pb2.TurnStarted(node_id=self._env.node_id)
        self.log.append(Event(turn_id=waiting.turn_id, attempt=1, turn_started=started))
        given = TurnInput(
            ref=self.ref,
            turn_id=waiting.turn_id,
            attempt=1,
            text=waiting.input.text,
            data=from_struct(waiting.input.data),
            state_json=self.stored.state_json,
            history=self.stored.history,
            turn_number=self.stored.turns_completed + 1,
        )
        return await run_agent(self._env, self._agent, given, self.log, self.claim.epoch)

    async def _finish(self, waiting: WaitingTurn, running: _Running) -> None:
        turn_id = waiting.turn_id
        if running.task.cancelled():
            await self._finish_cancelled(turn_id, running.cancel_reason)
            return
        outcome = running.task.result()
        self._env.lease.check()
        if outcome is None:
            raise NodeFenced
        if isinstance(outcome, Failed):
            await self._end(turn_id, session_pb2.TURN_STATE_FAILED, Event(turn_failed=outcome.to_event()))
            self.audit.write("turn_failed", self.ref, epoch=self.claim.epoch, turn=turn_id, reason=outcome.reason)
            return
        ended = self._ended(turn_id, session_pb2.TURN_STATE_COMPLETED)
        commit = TurnCommit(ended, outcome.state_json, PastTurn(waiting.input.text, outcome.text))
        self.stored = await self._store.commit_turn(self.ref, self.claim.epoch, commit)
        self._publish_end(ended, Event(turn_completed=outcome.to_event()))
        self.audit.write("turn_committed", self.ref, epoch=self.claim.epoch, turn=turn_id)

    async def _finish_cancelled(self, turn_id: str, reason: str) -> None:
        event = Event(turn_cancelled=session_pb2.TurnCancelled(reason=reason))
        await self._end(turn_id, session_pb2.TURN_STATE_CANCELLED, event)
        self.audit.write("turn_cancelled", self.ref, epoch=self.claim.epoch, turn=turn_id, reason=reason)

    async def _end(self, turn_id: str, state: session_pb2.TurnState.ValueType, event: Event) -> None:
        self._env.lease.check()
        ended = self._ended(turn_id, state)
        await self._store.end_turn(self.ref, self.claim.epoch, ended)
        self._publish_end(ended, event)

    def _ended(self, turn_id: str, state: session_pb2.TurnState.ValueType) -> StoredTurn:
        return replace(self._turns[turn_id], state=state, end_seq=self.log.head_seq + 1)

    def _publish_end(self, ended: StoredTurn, event: Event) -> None:
        event.turn_id, event.attempt = ended.turn_id, 1
        self._turns[ended.turn_id] = replace(ended, end_seq=self.log.append(event))
        self._outcomes[ended.turn_id] = event

    def _check_accepts(self, on_busy: session_pb2.OnBusy.ValueType) -> None:
        if self.closed:
            raise SessionClosed
        if self._draining:
            raise NodeDraining
        if on_busy == session_pb2.ON_BUSY_REJECT and not self._idle.is_set():
            raise TurnInProgress(self.running_turn_id or "")
        if on_busy != session_pb2.ON_BUSY_INTERRUPT:
            self._mailbox.check_room()

    async def _cancel_all(self, reason: str) -> None:
        for waiting in self._mailbox.take_back_all():
            await self._finish_cancelled(waiting.turn_id, reason)
        if (running := self.running_turn_id) is not None:
            await self.cancel(running, reason)
        self._set_idle()

    def _set_idle(self) -> None:
        if self._running is None and not len(self._mailbox):
            self._idle.set()
