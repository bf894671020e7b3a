"""One run of a task on this node: its state, its events, its result. Also an ended one that is replayed.

Guarantees: it ends once; once its end is being stored nothing cancels or fails it any more, so a cancel is either
before the end or after it, never both. The numbers of a run's events follow from which attempt it is, so that no number
is used by two runs, and nothing need be stored for it. Made and kept by `TaskRuns`, carried out by `TaskRunner`.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent_node.events.entries import Entry
from agent_node.events.log import EventLog
from agent_node.events.numbers import NO_END, NumberRange
from agent_node.events.whole_log import all_events, text_of
from agent_node.run.call_terms import NO_TERMS, CallTerms, of_stored
from agent_node.run.outcome import Completed, Failed
from agent_node.run.restarts import ValidNumbers
from agent_node.run.steps_under_way import StepsUnderWay
from agent_node.store import StoredTask, TaskEnd
from agent_node.store.published import Published
from agent_node.store.readable import to_task_events
from agentring.cluster.claim import Claim
from agentring.errors import AgentringError
from agentring.ids import Epoch, NodeId, TaskRef
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2 import Event

ATTEMPT_RANGE = 1 << 32
"""Attempt n numbers its events from (n - 1) * ATTEMPT_RANGE + 1 on: more than fit into its time."""
UNWATCHED = "UNWATCHED"
"""The reason of a cancel after which the task may begin anew."""


@dataclass(slots=True, eq=False)
class TaskRun:
    """A task whose run is under way here, or has ended."""

    ref: TaskRef
    agent: str
    input: session_pb2.Input
    """Empty once it has ended."""
    fingerprint: bytes
    retention_s: float
    epoch: Epoch
    log: EventLog
    node_id: NodeId
    claim: Claim | None = None
    """None: it is replayed from the store."""
    request_id: str = ""
    cancel_when_unwatched: bool = False
    attempt: int = 1
    deaths: int = 0
    """How many runs before ended with their node."""
    state: task_pb2.TaskState.ValueType = task_pb2.TASK_STATE_PENDING
    outcome: Completed | Failed | None = None
    end_seq: int | None = None
    created_ns: int = field(default_factory=time.time_ns)
    begun_s: float = field(default_factory=time.monotonic)
    """When this run was begun; it may have waited for a slot since."""
    ended_ns: int = 0
    forget_at_s: float | None = None
    """When its retention is over; None: it runs."""
    task: asyncio.Task[None] | None = None
    cancel_reason: str | None = None
    """Why it is being cancelled; None: it is not."""
    terms: CallTerms = NO_TERMS
    """Of the call that began the task, those that its agent may see."""
    published: tuple[Published, ...] = ()
    """What earlier runs told that is still valid."""
    valid: ValidNumbers = field(default_factory=lambda: ValidNumbers(0))
    """What it has told."""
    stored_seq: int = 0
    """Up to which event what was told is stored."""
    may_have_steps: bool = False
    """Whether rows of its steps may be stored."""
    open_steps: StepsUnderWay | None = None
    """Of its steps those that are under way; None: it has had none."""
    failure: AgentringError | None = None
    """Why it stops half-way; None: it does not."""
    ending: bool = False
    """Its end is decided and is being stored."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has ended or was dropped."""

    @property
    def has_ended(self) -> bool:
        """Whether the run is over."""
        return self.end_seq is not None

    @property
    def begins_anew(self) -> bool:
        """Whether a caller that asks for the task now gets a new run instead of this one."""
        return self.cancel_reason == UNWATCHED

    @property
    def covered_seq(self) -> int:
        """Numbers up to this belong to earlier runs."""
        return (self.attempt - 1) * ATTEMPT_RANGE

    def continues_log_of(self, epoch: int | None, seq: int) -> bool:
        """Whether this run's event log continues that of a run under that epoch from seq on; None: one that is not
        known, and is believed."""
        return epoch in (None, self.epoch) or seq <= self.covered_seq

    def cancel(self, reason: str) -> None:
        """Cancels the run unless it is over; its task then stores and publishes the end. The first reason stays."""
        if self.decide(reason):
            self.cancel_decided()

    def decide(self, reason: str) -> bool:
        """The run is to be cancelled, unless it is over; the first reason stays. False: it is over, or is cancelled for
        another reason."""
        is_new = self.task is not None and not self._is_settled and self.cancel_reason is None
        if is_new:
            self.cancel_reason = reason
        return is_new

    def cancel_decided(self) -> None:
        """Does what was decided, unless the run is over by now."""
        if self.task is not None and not self._is_settled:
            self.task.cancel()

    def fail(self, error: AgentringError) -> None:
        """Stops the run half-way unless it is over or being cancelled; its task then drops it."""
        if self.task is not None and not self._is_settled and self.failure is None and self.cancel_reason is None:
            self.failure = error
            self.task.cancel()

    def drop(self, error: AgentringError) -> None:
        """Ends the run's streams with the error and its task, without an end; does nothing to one that is dropped."""
        self.log.end(error)
        self.ended.set()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def ending_of(self, outcome: Completed | Failed | None) -> tuple[Event, TaskEnd]:
        """The last event, and all that is stored of the end. outcome None: cancelled."""
        match outcome:
            case Completed():
                state = task_pb2.TASK_STATE_COMPLETED
                event = Event(turn_completed=outcome.to_event())
            case Failed():
                state = task_pb2.TASK_STATE_FAILED
                event = Event(turn_failed=outcome.to_event())
            case None:
                state = task_pb2.TASK_STATE_CANCELLED
                event = Event(turn_cancelled=session_pb2.TurnCancelled(reason=self.cancel_reason or ""))
        event.attempt, event.epoch = self.attempt, self.epoch
        self.log.number(event)
        event.time.FromNanoseconds(time.time_ns())
        events = all_events(self.log)
        # A release that knows no valid words would take all of an earlier attempt's for them.
        is_partial = self.attempt > 1 or any(each.HasField("gap") for each in events)
        return event, TaskEnd(
            state=state,
            outcome=event.SerializeToString(),
            events=task_pb2.RunTaskResponse(events=events).SerializeToString(),
            text=outcome.text if is_partial and isinstance(outcome, Completed) else None,
            may_begin_anew=outcome is None and self.cancel_reason == UNWATCHED,
            life_id=self.request_id if self.may_have_steps else "",
        )

    def end(self, state: task_pb2.TaskState.ValueType, event: Event, outcome: Completed | Failed | None) -> None:
        """Publishes the end. The caller has stored it, and has checked the lease since. The input is dropped: an
        ended run is kept for its events, and later callers are compared by the fingerprint."""
        self.input = session_pb2.Input()
        self.state, self.outcome, self.ended_ns = state, outcome, time.time_ns()
        self.end_seq = self.log.append(event)
        self.ended.set()

    def to_task(self) -> task_pb2.Task:
        """As GetTask shows it. The text of a run under way, or of one that did not complete, is what its log holds."""
        task = task_pb2.Task(
            task_key=self.ref.task_key,
            agent=self.agent,
            state=self.state,
            node_id=self.node_id,
            epoch=self.epoch,
            attempt=self.attempt,
            watchers=self.log.readers,
        )
        task.create_time.FromNanoseconds(self.created_ns)
        if self.open_steps is not None and not self.has_ended:
            task.open_steps.extend(self.open_steps.shown())
        if self.has_ended:
            task.end_time.FromNanoseconds(self.ended_ns)
        match self.outcome:
            case Completed(text=text, result=result):
                task.text = text
                if result is not None:
                    task.result.CopyFrom(result)
            case Failed():
                task.failure.CopyFrom(self.outcome.to_event())
            case None:
                task.text = text_of(all_events(self.log))
        return task

    @property
    def _is_settled(self) -> bool:
        return self.ending or self.ended.is_set()


def begun(
    stored: StoredTask,
    claim: Claim,
    node_id: NodeId,
    attempt: int,
    max_log_bytes: int,
    published: tuple[Published, ...] = (),
    events: Sequence[Entry] = (),
) -> TaskRun:
    """The run that a claim begins. attempt: which one it is; told, events: what is still valid of earlier ones, and all
    that is stored of them."""
    numbers = NumberRange((attempt - 1) * ATTEMPT_RANGE, NO_END, lambda: None)
    log = EventLog(claim.epoch, max_log_bytes, numbers, head_seq=0)
    if events:
        log.restore(events)
    return TaskRun(
        ref=stored.ref,
        agent=stored.agent,
        input=session_pb2.Input.FromString(stored.input),
        fingerprint=stored.fingerprint,
        retention_s=stored.retention_s,
        epoch=claim.epoch,
        log=log,
        published=published,
        stored_seq=log.head_seq,
        claim=claim,
        request_id=stored.request_id,
        cancel_when_unwatched=stored.cancel_when_unwatched,
        node_id=node_id,
        attempt=attempt,
        deaths=stored.deaths,
        may_have_steps=attempt > 1,
        terms=of_stored(stored.input),
        created_ns=stored.created_ns,
    )


def restored(stored: StoredTask) -> TaskRun:
    """An ended task with the events that its run published, from the store."""
    outcome = stored.outcome_event()
    events = to_task_events(stored.events)
    run = TaskRun(
        ref=stored.ref,
        agent=stored.agent,
        input=session_pb2.Input(),
        fingerprint=stored.fingerprint,
        retention_s=stored.retention_s,
        epoch=stored.epoch,
        log=EventLog.restored(stored.epoch, [*events, outcome]),
        request_id=stored.request_id,
        node_id=stored.node_id,
        attempt=outcome.attempt,
        state=stored.state,
        end_seq=outcome.seq,
        created_ns=stored.created_ns,
        ended_ns=stored.ended_ns or 0,
    )
    if outcome.HasField("turn_completed"):
        text = stored.text if stored.text is not None else text_of(all_events(run.log))
        result = outcome.turn_completed.result if outcome.turn_completed.HasField("result") else None
        run.outcome = Completed(text, outcome.turn_completed.text_bytes, "{}", result)
    elif outcome.HasField("turn_failed"):
        failed = outcome.turn_failed
        run.outcome = Failed(failed.reason, failed.error_id, failed.detail)
    elif stored.may_begin_anew:
        run.cancel_reason = UNWATCHED
    run.ended.set()
    return run


def described(stored: StoredTask) -> task_pb2.Task:
    """As GetTask shows a task that nobody runs at the moment, or that has ended."""
    if stored.has_ended:
        return restored(stored).to_task()
    task = task_pb2.Task(
        task_key=stored.ref.task_key,
        agent=stored.agent,
        state=stored.state,
        node_id=stored.node_id,
        epoch=stored.epoch,
        attempt=stored.attempt,
    )
    task.create_time.FromNanoseconds(stored.created_ns)
    return task


async def all_ended(runs: Iterable[TaskRun], timeout_s: float) -> bool:
    """Whether each has ended or was dropped within so many seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            for run in runs:
                await run.ended.wait()
    except TimeoutError:
        return False
    return True
