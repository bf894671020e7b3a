"""What is known of a session, as a client's code sees it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from agentring.client.event_reading import read_questions
from agentring.client.events import Question
from agentring.v1 import session_pb2


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step or tool whose function runs."""

    name: str
    begun: datetime
    """By the node's wall clock."""
    attempt: int
    """The run of the turn that called it."""
    depth: int
    """Inside how many other steps it is."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What is known of a session."""

    raw: session_pb2.Session
    session_id: str
    agent: str
    closed: bool
    node_id: str
    """The node that owns it; empty: none does now."""
    epoch: int
    head_seq: int
    turns_completed: int
    running_turn_id: str
    """Empty: none runs."""
    waiting_turns: int
    created: datetime
    questions: tuple[Question, ...] = ()
    """What its running turn waits for an answer to: `Session.reply`."""
    open_steps: tuple[OpenStep, ...] = ()
    """The steps and tools of its running turn that are under way, the oldest first, at most 100."""


def to_session_info(found: session_pb2.Session) -> SessionInfo:
    """As the wire has it."""
    return SessionInfo(
        raw=found,
        session_id=found.session_id,
        agent=found.agent,
        closed=found.closed,
        node_id=found.node_id,
        epoch=found.epoch,
        head_seq=found.head_seq,
        turns_completed=found.turns_completed,
        running_turn_id=found.running_turn_id,
        waiting_turns=found.waiting_turns,
        created=found.create_time.ToDatetime(tzinfo=UTC),
        questions=read_questions(found.questions),
        open_steps=to_open_steps(found.open_steps),
    )


def to_open_steps(found: Iterable[session_pb2.OpenStep]) -> tuple[OpenStep, ...]:
    """As the wire has them."""
    return tuple(
        OpenStep(step.name, step.begin_time.ToDatetime(tzinfo=UTC), step.attempt, step.depth) for step in found
    )
