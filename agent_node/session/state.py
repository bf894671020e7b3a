"""What is known of one session on the node that owns it: the one state that the stages of its life share.

The session is an actor. Its stages are files of functions over this state: intake.py accepts turns and answers,
turn_loop.py runs the turns, turn_end.py stores and publishes how each ended, leaving.py ends the session here and hands
it on. session.py is what its host and the services call.

One lock, `lock`, is held while something is let in or the session leaves, across all that this waits for; so what was
looked at before still holds when the store has answered. A running turn needs it for nothing. The order of the single
writes is the writer's (fenced_writer.py). What the stages wait for in each other they wait for with `changed`.
"""

import asyncio
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent_node.audit import Transition
from agent_node.events.log import EventLog
from agent_node.log_fields import named
from agent_node.quota.quota import Hold
from agent_node.run.agent_run import AgentRun
from agent_node.run.call_terms import of_stored
from agent_node.run.environment import RunEnvironment
from agent_node.run.halted_start import HALTED, acquire_slot
from agent_node.run.outcome import Outcome
from agent_node.run.restarts import ValidNumbers
from agent_node.run.slots import RunSlot, RunSlots
from agent_node.run.steps_under_way import StepsUnderWay
from agent_node.session.change_signal import ChangeSignal
from agent_node.session.fenced_writer import FencedWriter
from agent_node.session.interrupted_turns import next_attempt
from agent_node.session.mailbox import Mailbox, WaitingTurn
from agent_node.session.missing_events import MissingEvents
from agent_node.session.questions import SessionQuestions
from agent_node.session.stored_events import StoredEvents
from agent_node.session.turn_index import TurnIndex
from agent_node.single_flight import SingleFlight
from agent_node.store import Store, StoredSession, StoredTurn
from agent_node.store.file_records import SESSION_BYTES
from agentring.agent import Agent
from agentring.cluster.claim import Claim
from agentring.errors import TurnNotFound
from agentring.ids import SessionRef
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_RUNNING

ENDED = (session_pb2.TURN_STATE_COMPLETED, session_pb2.TURN_STATE_FAILED, session_pb2.TURN_STATE_CANCELLED)


@dataclass
class RunningTurn:
    """The turn that has left the mailbox and has not ended."""

    turn_id: str
    slot: RunSlot
    begun_s: float = 0.0
    """When it began to wait for something, in the event loop's time; 0: it has not waited yet."""
    run: AgentRun | None = None
    """Its agent, which has begun and waits; None: it is yet to begin, or has ended."""
    task: asyncio.Task[None] | None = None
    """What runs it; None: it has not waited for anything yet, or has ended."""
    outcome: Outcome | None = None
    """None: it has none yet, was cancelled, or the lease may have expired."""
    open_steps: StepsUnderWay | None = None
    """None: it has had none."""
    cancel_reason: str | None = ""
    """Why it is being cancelled; empty: it is not; None: it is cut off, and left to the session's next owner."""


class SessionState:
    """One session on its node."""

    __slots__ = (
        "agent",
        "begins_nothing",
        "begun_commit",
        "changed",
        "claim",
        "closed",
        "closed_at_s",
        "draining",
        "env",
        "events",
        "files_coming",
        "flights",
        "lock",
        "log",
        "mailbox",
        "max_file_bytes",
        "missing",
        "ownership",
        "questions",
        "renumbered",
        "restarted",
        "running",
        "slots",
        "store",
        "stored",
        "tasks",
        "turn_holds",
        "turns",
        "turns_accepted",
        "writer",
    )

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
        max_file_bytes: int = SESSION_BYTES,
    ) -> None:
        """stored: what the store knows of it. slots: the node's; tasks: owns what must not end with its caller.
        max_log_bytes: about how much memory its events may take; max_stored_log_bytes: how much a durable store keeps
        of them."""
        self.env = env
        self.store = store
        self.claim = claim
        self.agent = agent
        self.slots = slots
        self.tasks = tasks
        self.ownership = env.ownership(stored.ref, claim.epoch)
        self.stored = replace(stored, turns={})  # those that are known are in `turns`; the state's own copy
        self.turns = TurnIndex(stored.turns.values())
        self.turns_accepted = stored.turns_accepted
        self.begun_commit = 0
        """Of the transaction that accepted a turn as running."""
        self.renumbered: dict[str, StoredTurn] = {}
        """Turns whose ends were published under later numbers than the store has."""
        self.closed = stored.closed
        self.closed_at_s: float | None = None
        self.draining = False
        """It lets nothing in any more."""
        self.begins_nothing = False
        """What is accepted all the same is left to the next owner."""
        self.max_file_bytes = max_file_bytes
        self.restarted: ValidNumbers | None = None
        """What is valid of the turn that an earlier owner's end cut off; None: none was, or it has begun."""
        self.files_coming: Collection[bytes] = ()
        """Of an input that is about to be accepted."""
        self.running: RunningTurn | None = None
        self.lock = asyncio.Lock()
        self.changed = ChangeSignal()
        self.flights: SingleFlight[Hashable, Any] = SingleFlight(tasks)
        """Changes that several may ask for at once: a turn's cancel, the close."""
        self.writer = FencedWriter(self._check_may_write, self.fail)
        self.events = StoredEvents(store, self.ownership, stored, self.writer, self.flights, max_stored_log_bytes)
        earlier = self.events if store.durable else None
        self.log = EventLog(claim.epoch, max_log_bytes, self.events.numbers, earlier, head_seq=stored.head_seq)
        self.missing = MissingEvents(self.log, self.turns, stored)
        self.mailbox = Mailbox(mailbox_size)
        self.questions = SessionQuestions(
            store, self.ownership, stored.inputs.values(), self.turns, self.writer, self.changed, tasks
        )
        self.turn_holds: dict[str, Hold] | None = None if env.quota is None else {}
        """Of turns that have not ended, where tenants have limits."""
        self._resume()

    @property
    def ref(self) -> SessionRef:
        """Its name."""
        return self.stored.ref

    @property
    def log_fields(self) -> Mapping[str, str | int]:
        """Its name, as fields of a log line."""
        return named(self.ref, self.stored.agent)

    @property
    def all_ended(self) -> bool:
        """Whether every accepted turn has ended, or the session has."""
        return not self.turns.has_open or self.log.end_error is not None

    @property
    def is_idle(self) -> bool:
        """Whether all its turns have ended, or the running one waits for an answer, and no stream is attached."""
        return (self.all_ended or self.questions.is_waiting) and not self.log.readers

    @property
    def is_halted(self) -> bool:
        """Whether none of its turns may begin now."""
        halts = self.env.halts
        return halts.current is not None and halts.find(self.ref, self.stored.agent) is not None

    @property
    def turns_ahead(self) -> int:
        """How many turns run or wait."""
        return len(self.mailbox) + (self.running is not None)

    @property
    def checkpoint_seq(self) -> int | None:
        """The head_seq of a write now: where the events of ended turns end. None: as it was, since a turn runs."""
        if any(turn.state == TURN_STATE_RUNNING or turn.attempt > 1 for turn in self.turns.open):
            return None
        return self.log.head_seq

    async def acquire_slot(self, running: RunningTurn) -> None:
        """Waits for a turn's slot, and for the end of a halt that holds it. Raises CancelledError where one cancels
        it, with the reason in `running`."""
        if not await acquire_slot(self.env.halts, self.ref, self.stored.agent, running.slot):
            running.cancel_reason = HALTED
            await asyncio.sleep(0)  # until the turn loop has its task, which ends as cancelled
            raise asyncio.CancelledError

    def turn(self, turn_id: str) -> StoredTurn:
        """A turn that has not ended, or not long ago. Raises TurnNotFound."""
        if (turn := self.turns.get(turn_id)) is None:
            raise TurnNotFound
        return turn

    async def find_turn(self, turn_id: str) -> StoredTurn | None:
        """A turn, also one that ended long ago; None: there is none. Raises StoreUnavailable."""
        if self.turns.get(turn_id) is None:
            stored = await self.store.read_turn(self.ref, turn_id)
            if stored is not None and self.turns.get(turn_id) is None:
                self.turns.put(stored)
        return self.turns.get(turn_id)

    async def look_up_turn(self, turn_id: str) -> StoredTurn:
        """As find_turn. Raises TurnNotFound, StoreUnavailable."""
        if (turn := await self.find_turn(turn_id)) is None:
            raise TurnNotFound
        return turn

    def check_delivery(self) -> None:
        """Raises NodeFenced from the fence on: a node that was frozen sends nothing more."""
        self.env.lease.check_delivery()

    def fail(self, error: Exception) -> None:
        """A write has failed: the turn loop raises."""
        self.mailbox.fail(error)
        if self.running is not None and self.running.task is not None:
            self.running.task.cancel()

    def hold_turns(self) -> None:
        """Counts the turns that an earlier owner has accepted."""
        if self.turn_holds is not None and self.env.quota is not None:
            for turn in self.turns.open:
                subject = of_stored(turn.input).subject
                self.turn_holds[turn.turn_id] = self.env.quota.resume_turn(self.ref.tenant, subject)

    def release_turn(self, turn_id: str) -> None:
        """A turn has ended, and counts no more."""
        if self.turn_holds and (hold := self.turn_holds.pop(turn_id, None)) is not None:
            hold.release()

    def release_turns(self) -> None:
        """The session leaves this node, and none of its turns counts here any more."""
        for turn_id in list(self.turn_holds or ()):
            self.release_turn(turn_id)
        self.turn_holds = None

    def audit(self, transition: Transition, turn: StoredTurn, commit: int, **fields: str | int) -> None:
        """Writes a turn's transition to the audit log."""
        epoch = self.ownership.epoch
        self.env.audit.write(transition, self.ref, epoch=epoch, turn=turn.turn_id, commit=commit, **fields)

    def _check_may_write(self) -> None:
        self.log.check()
        self.env.lease.check()

    def _resume(self) -> None:
        """Goes on with what an earlier owner left. What that published beyond head_seq is void, since it is of a turn
        that ran; where none ran, it is at most an end whose number is later than the stored one. What was told before
        the last step of that turn was committed stays."""
        interrupted = next((turn for turn in self.turns.open if turn.state == TURN_STATE_RUNNING), None)
        if interrupted is not None:
            turn, event = next_attempt(interrupted, self.stored)
            self.restarted = ValidNumbers(0)
            is_kept = self.restarted.append_restart(self.log, event)
            self.turns.put(turn if is_kept else replace(turn, published=()))
        for turn in self.turns.open:
            self.mailbox.requeue(WaitingTurn(turn.turn_id, turn.input_message(), terms=of_stored(turn.input)))
