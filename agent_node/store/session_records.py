"""What a store keeps of sessions, as records; and what every write of them is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent_node.store.published import Published
from agent_node.store.readable import to_event
from agentring.agent import PastTurn
from agentring.ids import Epoch, SessionId, SessionRef
from agentring.v1 import session_pb2

SEQ_RANGE = 1 << 20
"""How many event numbers an activation reserves at a time."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """A session in the hands of one incarnation of a node: every write is compared with it."""

    ref: SessionRef
    epoch: Epoch
    owner: str
    """Names the incarnation, as `node_id/incarnation`; never empty."""


@dataclass
class StoredTurn:
    """One turn of a session. Not changed once it was made: it is not frozen because that would cost a turn's time."""

    turn_id: str
    fingerprint: bytes
    """Of its input, to distinguish the same turn sent again from another under its name."""
    number: int
    """Its place among the session's accepted turns, from 1, without a gap."""
    input: bytes
    """A session_pb2.Input; empty where it is not needed any more, the turn having ended."""
    state: session_pb2.TurnState.ValueType
    attempt: int
    """The run that it is in or was in last, from 1; where it has not run: the first one to come."""
    accepted_seq: int
    """Its first event has this number, or a little later one."""
    end_seq: int | None = None
    """The seq of its last event; None: it has not ended."""
    outcome: bytes = b""
    """The last event, a session_pb2.Event; empty: it has not ended."""
    deaths: int = 0
    """How many of its runs ended with their node."""
    life_id: str = ""
    """Random, made with its acceptance: its name may have been another turn's before. Empty: an earlier release
    accepted it."""
    published: tuple[Published, ...] = field(default=(), compare=False)
    """What of it stays valid where it runs again (still_valid). Is not stored itself, but with its steps."""
    may_have_steps: bool = field(default=False, compare=False)
    """Whether rows of its steps may be stored, which then go with its end. Is not stored itself."""

    def ended(self, state: session_pb2.TurnState.ValueType, end_seq: int, outcome: bytes) -> "StoredTurn":
        """The turn once it has ended so. outcome: the last event."""
        return StoredTurn(
            self.turn_id,
            self.fingerprint,
            self.number,
            b"",
            state,
            self.attempt,
            self.accepted_seq,
            end_seq,
            outcome,
            self.deaths,
            self.life_id,
            (),
            self.may_have_steps,
        )

    def input_message(self) -> session_pb2.Input:
        """What the agent gets."""
        return session_pb2.Input.FromString(self.input)

    @property
    def input_text(self) -> str:
        """The words that it was given."""
        return text_of(self.input_message())

    def check(self) -> None:
        """Raises DecodeError if what is stored of it cannot be read."""
        self.input_message()
        self.outcome_event()

    def outcome_event(self) -> session_pb2.Event | None:
        """The last event; None: it has not ended."""
        return to_event(self.outcome) if self.outcome else None


@dataclass(frozen=True, slots=True)
class EventRow:
    """Consecutive events of a session, as they are kept."""

    first_seq: int
    seq: int
    """The last number."""
    begin_bytes: int
    """How many bytes of the session's events were kept before."""
    events: bytes
    """A store_pb2.StoredEvents."""

    @property
    def end_bytes(self) -> int:
        """How many bytes of the session's events were kept, with these."""
        return self.begin_bytes + len(self.events)


@dataclass(frozen=True, slots=True)
class Publication:
    """What a run has told so far, to be kept with a commit of its steps."""

    head_seq: int | None
    """As StoredSession.head_seq, of a session; None: as it was."""
    events: Sequence[EventRow] = ()
    """Up to there."""
    renumbered: Sequence[StoredTurn] = ()
    """As in Store.end_turn."""


@dataclass(frozen=True, slots=True)
class EventExtent:
    """Which events of a session are kept. The default: none."""

    oldest_seq: int = 0
    """The first number; 0: none."""
    begin_bytes: int = 0
    """As in EventRow, of the first row."""
    end_bytes: int = 0
    """As in EventRow, of the last row."""


@dataclass(frozen=True, slots=True)
class StoredInput:
    """A question that a turn asked."""

    input_id: str
    """Names its turn and its place among the turn's questions."""
    turn_id: str
    waits: int = 0
    """How many runs of the turn have waited for it, and were not answered."""
    answer: bytes | None = None
    """A session_pb2.Input; None: it is open."""
    question: bytes = b""
    """A session_pb2.InputRequired, without its input_id; empty: a release that did not keep it asked."""

    def answer_message(self) -> session_pb2.Input | None:
        """The answer; None: it is open."""
        return session_pb2.Input.FromString(self.answer) if self.answer is not None else None

    def to_question(self) -> session_pb2.Question:
        """As clients see it while it is open."""
        asked = session_pb2.InputRequired.FromString(self.question)
        schema = asked.schema if asked.HasField("schema") else None
        return session_pb2.Question(turn_id=self.turn_id, input_id=self.input_id, prompt=asked.prompt, schema=schema)


@dataclass
class StoredSession:
    """One session, as it was read. Who has a copy of his own may keep it up to date."""

    ref: SessionRef
    agent: str
    epoch: Epoch
    created_ns: int
    """Wall clock, for people."""
    was_released: bool = True
    """Its last owner gave it up; False: that owner was lost."""
    owner_lives: bool = False
    """Its last owner is this incarnation, which has failed in this session alone."""
    closed: bool = False
    state_json: str = "{}"
    turns_completed: int = 0
    history: tuple[PastTurn, ...] = ()
    turns: Mapping[str, StoredTurn] = field(default_factory=dict)
    """Those that have not ended, in the order of their numbers, and the latest that have; a store may know more."""
    inputs: Mapping[str, StoredInput] = field(default_factory=dict)
    """The questions of turns that have not ended, by input_id."""
    turns_accepted: int = 0
    """The highest turn number."""
    head_seq: int = 0
    """The last event of what has ended, or was told before a step of the turn that runs was committed: what comes later
    belongs to a turn that has not ended, or was never sent."""
    log_seq: int = 0
    """This activation's events are numbered from here, exclusively. Beyond head_seq: an earlier owner ended without a
    checkpoint, and may have sent the events in between."""
    reserved_seq: int = SEQ_RANGE
    """The last number that this activation may use."""
    commit: int = 0
    """The number of the row's last transaction; it grows with each."""
    kept: EventExtent = EventExtent()
    """Its events in the store: up to head_seq, those that retention has not dropped."""

    @property
    def oldest_seq(self) -> int:
        """The oldest number whose event is kept; head_seq + 1: none."""
        return self.kept.oldest_seq or self.head_seq + 1


@dataclass
class TurnCommit:
    """What a completed turn leaves behind."""

    turn: StoredTurn
    state_json: str | None
    """None: it is as it was."""
    past: PastTurn


@dataclass(frozen=True, slots=True)
class Trim:
    """What is left once the oldest events were dropped."""

    commit: int
    kept: EventExtent


@dataclass(frozen=True, slots=True)
class ToolStart:
    """A tool that is about to be called."""

    turn_id: str
    attempt: int
    call_id: str
    name: str


@dataclass
class Acceptance:
    """How the acceptance of a turn went."""

    commit: int
    known: StoredTurn | None
    """The turn that has the turn_id already; None: it was accepted."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session with turns that have not ended."""

    ref: SessionRef
    agent: str
    commit: int
    """As StoredSession.commit."""


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions of a tenant are asked for."""

    prefix: str = ""
    """That their ids begin with."""
    agent: str = ""
    """Empty: any."""


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session as a list shows it: as of its last write."""

    session_id: SessionId
    agent: str
    closed: bool
    owner: str
    """As Ownership.owner, of the last owner that has not released it, alive or not; empty: there is none."""
    epoch: Epoch
    head_seq: int
    oldest_seq: int
    turns_completed: int
    created_ns: int
    running_turn_id: str
    """Empty: none runs, or did when its owner was lost."""
    waiting_turns: int
    questions: tuple[StoredInput, ...] = ()
    """Those of turns that have not ended which have no answer."""


def text_of(input: session_pb2.Input) -> str:
    """The words of an input: its text and those of its parts, on lines of their own."""
    if not input.parts:
        return input.text
    texts = [input.text, *(part.text for part in input.parts if part.HasField("text"))]
    return "\n".join(filter(None, texts))
