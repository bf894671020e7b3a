"""What a node keeps of sessions, behind one interface; and the volatile store, which keeps it in the process.

The interface is the one that a durable store fulfils too: an activation first raises the session's epoch and then
reads, and every later write carries the epoch and is refused (StaleEpoch) where a later one was raised. The volatile
store loses everything with the process; it is for trying out and for agents whose state may be lost."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from agent_node.agent import PastTurn
from agentring.errors import SessionNotFound, StaleEpoch
from agentring.ids import Epoch, SessionRef
from agentring.v1 import session_pb2


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One turn of a session."""

    turn_id: str
    fingerprint: bytes
    """Of its input, to tell the same turn sent again from another under its name."""
    state: session_pb2.TurnState.ValueType
    accepted_seq: int
    end_seq: int | None = None
    """The seq of its last event; None: it has not ended."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """One session."""

    ref: SessionRef
    agent: str
    epoch: Epoch
    created_ns: int
    """Wall clock, for people."""
    closed: bool = False
    state_json: str = "{}"
    turns_completed: int = 0
    history: tuple[PastTurn, ...] = ()
    turns: Mapping[str, StoredTurn] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnCommit:
    """What a completed turn leaves behind."""

    turn: StoredTurn
    state_json: str
    past: PastTurn


class Store(Protocol):
    """Where sessions are kept. Every method may raise StaleEpoch; the caller then no longer owns the session."""

    async def activate(self, fresh: StoredSession, epoch: Epoch) -> StoredSession:
        """Raises the session's epoch and reads it; makes it from `fresh` if it does not exist."""

    async def accept_turn(self, ref: SessionRef, epoch: Epoch, turn: StoredTurn) -> None:
        """Keeps a turn before anybody is told that it is accepted."""

    async def end_turn(self, ref: SessionRef, epoch: Epoch, turn: StoredTurn) -> None:
        """Keeps how a turn ended that changes nothing else: failed or cancelled."""

    async def commit_turn(self, ref: SessionRef, epoch: Epoch, commit: TurnCommit) -> StoredSession:
        """Keeps a completed turn, its state and its place in the history, in one step; returns the session since."""

    async def close_session(self, ref: SessionRef, epoch: Epoch) -> None:
        """Marks the session as closed."""

    async def forget_session(self, ref: SessionRef, epoch: Epoch) -> None:
        """Removes a session."""


class MemoryStore:
    """The volatile store: in the process, and only as long as this node holds the claim."""

    def __init__(self, *, max_history_turns: int) -> None:
        """max_history_turns: completed turns that are kept of each session."""
        self._sessions: dict[SessionRef, StoredSession] = {}
        self._max_history_turns = max_history_turns

    async def activate(self, fresh: StoredSession, epoch: Epoch) -> StoredSession:
        """As Store."""
        session = self._sessions.get(fresh.ref, fresh)
        if session.epoch >= epoch:
            raise StaleEpoch
        # Each activation has a mapping of its own, which its writes then change in place.
        session = self._sessions[fresh.ref] = replace(session, epoch=epoch, turns=dict(session.turns))
        return session

    async def accept_turn(self, ref: SessionRef, epoch: Epoch, turn: StoredTurn) -> None:
        """As Store."""
        self._put_turn(self._fenced(ref, epoch), turn)

    async def end_turn(self, ref: SessionRef, epoch: Epoch, turn: StoredTurn) -> None:
        """As Store."""
        self._put_turn(self._fenced(ref, epoch), turn)

    async def commit_turn(self, ref: SessionRef, epoch: Epoch, commit: TurnCommit) -> StoredSession:
        """As Store."""
        session = self._fenced(ref, epoch)
        history = (*session.history, commit.past)
        return self._put_turn(
            replace(
                session,
                state_json=commit.state_json,
                turns_completed=session.turns_completed + 1,
                history=history[max(0, len(history) - self._max_history_turns) :],
            ),
            commit.turn,
        )

    async def close_session(self, ref: SessionRef, epoch: Epoch) -> None:
        """As Store."""
        self._sessions[ref] = replace(self._fenced(ref, epoch), closed=True)

    async def forget_session(self, ref: SessionRef, epoch: Epoch) -> None:
        """As Store."""
        self._fenced(ref, epoch)
        del self._sessions[ref]

    def _fenced(self, ref: SessionRef, epoch: Epoch) -> StoredSession:
        session = self._sessions.get(ref)
        if session is None:
            raise SessionNotFound
        if session.epoch != epoch:
            raise StaleEpoch
        return session

    def _put_turn(self, session: StoredSession, turn: StoredTurn) -> StoredSession:
        # The mapping is shared by the session's successive versions: only the owner of the epoch sees it.
        turns = session.turns
        assert isinstance(turns, dict)
        turns[turn.turn_id] = turn
        self._sessions[session.ref] = session
        return session
