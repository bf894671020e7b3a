"""One run of a task key on this node: its state, its story, its result.

Guarantees: it ends once, and its outcome is published only while the lease stands. Made and kept by `TaskRuns`.
"""

import asyncio
import time
from dataclasses import dataclass, field

from agent_node.event_log import EventLog
from agent_node.turn import Completed, Failed
from agentring.cluster.claim import Claim
from agentring.errors import AgentringError
from agentring.ids import Epoch, NodeId, TaskRef
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2 import Event

TASK_ENDED = (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)


@dataclass(slots=True, eq=False)
class TaskRun:
    """A claimed task key: its run under way, or the one that has ended and is remembered."""

    ref: TaskRef
    agent: str
    input: session_pb2.Input
    fingerprint: bytes
    retention_s: float
    claim: Claim
    log: EventLog
    state: task_pb2.TaskState.ValueType = task_pb2.TASK_STATE_PENDING
    outcome: Completed | Failed | None = None
    end_seq: int | None = None
    forget_at_s: float | None = None
    """When its retention is over; None: it runs."""
    created_ns: int = field(default_factory=time.time_ns)
    ended_ns: int = 0
    task: asyncio.Task[None] | None = None
    cancel_reason: str | None = None
    """Why it is being cancelled; None: it is not."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has ended or was dropped."""
    attempt: int = 1
    covered_seq: int = 0
    """Numbers up to this may have been used by a run that was lost with its node; the first event covers them."""

    @property
    def epoch(self) -> Epoch:
        """The epoch of its claim."""
        return self.claim.epoch

    @property
    def has_ended(self) -> bool:
        """Whether the run is over."""
        return self.end_seq is not None

    def tells_on(self, epoch: int | None, seq: int) -> bool:
        """Whether this story goes on with what a run under that epoch told up to seq; None: one that is not known, and
        is believed."""
        return epoch in (None, self.epoch) or seq <= self.covered_seq

    def cover(self, seq: int) -> None:
        """Takes the place of a run that was lost with its node and had told up to seq at least: what it told is told
        to be void. Before anything else is told."""
        self.attempt, self.covered_seq = 2, seq
        restarted = session_pb2.AttemptRestarted(reason="NODE_LOST")
        self.log.append(Event(attempt=self.attempt, attempt_restarted=restarted))

    def cancel(self, reason: str) -> None:
        """Cancels the run unless it is over; its task then publishes the end. The first reason stays."""
        if self.task is not None and not self.ended.is_set() and self.cancel_reason is None:
            self.cancel_reason = reason
            self.task.cancel()

    def drop(self, error: AgentringError) -> None:
        """Ends the run's streams with an error, and the run, if it is under way, without an end of its own."""
        self.log.end(error)
        self.cancel_reason = None
        self.ended.set()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def end(self, state: task_pb2.TaskState.ValueType, event: Event, outcome: Completed | Failed | None) -> None:
        """Publishes the end. The caller has checked the lease."""
        self.state, self.outcome, self.ended_ns = state, outcome, time.time_ns()
        event.attempt = self.attempt
        self.end_seq = self.log.append(event)
        self.ended.set()

    def to_task(self, node_id: NodeId) -> task_pb2.Task:
        """As GetTask shows it. The text of a run under way is what its log still holds."""
        task = task_pb2.Task(
            task_key=self.ref.task_key,
            agent=self.agent,
            state=self.state,
            node_id=node_id,
            epoch=self.epoch,
            attempt=self.attempt,
            watchers=self.log.readers,
        )
        task.create_time.FromNanoseconds(self.created_ns)
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
                task.text = self._text_so_far()
        return task

    def _text_so_far(self) -> str:
        seq, pieces = 0, []
        while seq < self.log.head_seq:
            seq, events = self.log.read(seq)
            pieces += [event.text_delta.text for event in events if event.HasField("text_delta")]
        return "".join(pieces)
