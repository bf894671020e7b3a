"""The volatile store: in the process, and only as long as this node holds the claim. It is for trying out, and for
agents whose state may be lost."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from agent_node.store.clock import StoreClock, VolatileClock
from agent_node.store.memory.files import MemoryFileStore
from agent_node.store.memory.once import MemoryOnceStore
from agent_node.store.memory.steps import MemoryStepStore
from agent_node.store.session_records import (
    SEQ_RANGE,
    Acceptance,
    EventExtent,
    EventRow,
    ListedSession,
    OpenSession,
    Ownership,
    Publication,
    SessionFilter,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
    TurnCommit,
)
from agent_node.store.step_records import Life, RunOwnership
from agent_node.store.storage_records import session_scope
from agentring.errors import StaleEpoch
from agentring.ids import SessionRef, TenantId
from agentring.v1.session_pb2 import TURN_STATE_RUNNING


class MemoryStore:
    """A Store of one node alone."""

    durable = False
    waits = False

    def __init__(self, *, max_history_turns: int, seq_range: int = SEQ_RANGE, clock: StoreClock | None = None) -> None:
        """max_history_turns: completed turns that an activation reads. clock: None: the machine's own."""
        self._clock = clock or VolatileClock()
        self._sessions: dict[SessionRef, StoredSession] = {}
        self._owners: dict[SessionRef, str] = {}
        self._events: dict[SessionRef, list[EventRow]] = {}
        self._inputs: dict[SessionRef, dict[str, StoredInput]] = {}
        self._max_history_turns = max_history_turns
        self._seq_range = seq_range
        self.once = MemoryOnceStore(self._clock)
        """The runs of `ctx.once`."""
        self.steps = MemoryStepStore(self._count_step)
        """The steps of turns."""
        self.storage = self.steps.storage
        """What turns have stored by key."""
        self.files = MemoryFileStore(self._fenced, self._clock)
        """The files of sessions."""

    async def activate(self, ownership: Ownership, agent: str) -> StoredSession:
        """As Store."""
        ref = ownership.ref
        session = self._sessions.get(ref)
        if session is None:
            self._owners[ref] = ownership.owner
            session = self._sessions[ref] = StoredSession(
                ref, agent, ownership.epoch, self._clock.now().wall_ns, reserved_seq=self._seq_range, commit=1
            )
            return replace(session)
        if session.epoch >= ownership.epoch:
            raise StaleEpoch
        self._owners[ref] = ownership.owner
        # Each activation has a record and mappings of its own, which its writes then change in place.
        session = self._sessions[ref] = replace(
            session,
            epoch=ownership.epoch,
            turns=dict(session.turns),
            inputs={
                input_id: asked
                for input_id, asked in self._inputs.get(ref, {}).items()
                if session.turns[asked.turn_id].end_seq is None
            },
            log_seq=session.reserved_seq,
            reserved_seq=session.reserved_seq + self._seq_range,
            commit=session.commit + 1,
        )
        return replace(session)

    async def accept_turn(
        self, ownership: Ownership, turn: StoredTurn, head_seq: int | None, events: Sequence[EventRow] = ()
    ) -> Acceptance:
        """As Store."""
        session = self._fenced(ownership)
        if (known := session.turns.get(turn.turn_id)) is not None:
            return Acceptance(self._keep(session, head_seq, events=events), known)
        return Acceptance(self._keep(session, head_seq, turn, events=events, turns_accepted=turn.number), None)

    async def start_turn(self, ownership: Ownership, turn: StoredTurn) -> int:
        """As Store."""
        return self._keep(self._fenced(ownership), None, turn)

    async def start_tool(self, ownership: Ownership, start: ToolStart) -> int:
        """As Store."""
        return self._keep(self._fenced(ownership), None)

    async def keep_input(self, ownership: Ownership, asked: StoredInput) -> int:
        """As Store."""
        session = self._fenced(ownership)
        self._inputs.setdefault(session.ref, {})[asked.input_id] = asked
        return self._keep(session, None)

    async def end_turn(
        self,
        ownership: Ownership,
        turn: StoredTurn,
        head_seq: int | None,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        """As Store."""
        return self._keep(self._fenced(ownership), head_seq, turn, *renumbered, events=events)

    async def commit_turn(
        self,
        ownership: Ownership,
        commit: TurnCommit,
        renumbered: Sequence[StoredTurn] = (),
        events: Sequence[EventRow] = (),
    ) -> int:
        """As Store."""
        session = self._fenced(ownership)
        history = (*session.history, commit.past)
        return self._keep(
            session,
            commit.turn.end_seq,
            commit.turn,
            *renumbered,
            events=events,
            state_json=session.state_json if commit.state_json is None else commit.state_json,
            turns_completed=session.turns_completed + 1,
            history=history[max(0, len(history) - self._max_history_turns) :],
        )

    async def extend_range(self, ownership: Ownership, reserved_seq: int) -> int:
        """As Store."""
        return self._keep(self._fenced(ownership), None, reserved_seq=reserved_seq)

    async def trim_events(self, ownership: Ownership, before_bytes: int) -> Trim:
        """As Store."""
        session = self._fenced(ownership)
        kept = [row for row in self._events.get(session.ref, []) if row.begin_bytes >= before_bytes]
        self._events[session.ref] = kept
        return Trim(self._keep(session, None, kept=_extent(kept)), _extent(kept))

    async def close_session(self, ownership: Ownership, head_seq: int, events: Sequence[EventRow] = ()) -> int:
        """As Store."""
        return self._keep(self._fenced(ownership), head_seq, events=events, closed=True)

    async def release(
        self, ownership: Ownership, head_seq: int | None, reserved_seq: int, events: Sequence[EventRow] = ()
    ) -> int:
        """As Store: what another node may own from now on must not be found here again."""
        session = self._fenced(ownership)
        for turn in _open(session):
            self.steps.forget(Life(ownership.ref.tenant, turn.life_id))
        self.storage.forget(session_scope(ownership.ref, session.created_ns))
        del self._sessions[ownership.ref], self._owners[ownership.ref]
        self._events.pop(ownership.ref, None)
        self._inputs.pop(ownership.ref, None)
        self.files.forget(ownership.ref)
        return session.commit + 1

    async def read(self, ref: SessionRef) -> StoredSession | None:
        """As Store: what is here is of use to the session's owner alone."""
        return None

    async def read_turn(self, ref: SessionRef, turn_id: str) -> StoredTurn | None:
        """As Store."""
        session = self._sessions.get(ref)
        return session.turns.get(turn_id) if session is not None else None

    async def read_input(self, ref: SessionRef, input_id: str) -> StoredInput | None:
        """As Store."""
        return self._inputs.get(ref, {}).get(input_id)

    async def read_events(self, ref: SessionRef, after_seq: int, max_bytes: int) -> Sequence[EventRow]:
        """As Store."""
        later = [row for row in self._events.get(ref, []) if row.seq > after_seq]
        return [row for row in later if row.begin_bytes < later[0].begin_bytes + max_bytes]

    async def close_unread(self, ownership: Ownership) -> None:
        """As Store: what is in memory can be read."""
        raise StaleEpoch

    async def expire_closed(self, tombstone_s: float) -> int:
        """As Store: here a closed session rests in the hands of its owner, who then releases it."""
        return 0

    async def list_open(self, after: SessionRef | None, at_most: int) -> Sequence[OpenSession]:
        """As Store."""
        found = (
            OpenSession(ref, session.agent, session.commit)
            for ref, session in sorted(self._sessions.items(), key=lambda item: _sort_key(item[0]))
            if (after is None or _sort_key(ref) > _sort_key(after))
            and _open(session)
            and not self._unanswered(ref, session)
        )
        return list(islice(found, at_most))

    def _unanswered(self, ref: SessionRef, session: StoredSession) -> tuple[StoredInput, ...]:
        """The questions that it waits for an answer to."""
        asked = self._inputs.get(ref, {}).values()
        return tuple(each for each in asked if each.answer is None and session.turns[each.turn_id].end_seq is None)

    async def list_sessions(
        self, tenant: TenantId, which: SessionFilter, after: str, at_most: int
    ) -> Sequence[ListedSession]:
        """As Store: those that this node has."""
        refs = sorted(
            ref.session_id
            for ref, session in self._sessions.items()
            if ref.tenant == tenant
            and ref.session_id > after
            and ref.session_id.startswith(which.prefix)
            and which.agent in ("", session.agent)
        )
        return [self._listed(SessionRef(tenant, session_id)) for session_id in refs[:at_most]]

    def _listed(self, ref: SessionRef) -> ListedSession:
        session = self._sessions[ref]
        running = [turn.turn_id for turn in _open(session) if turn.state == TURN_STATE_RUNNING]
        return ListedSession(
            session_id=ref.session_id,
            agent=session.agent,
            closed=session.closed,
            owner=self._owners[ref],
            epoch=session.epoch,
            head_seq=session.head_seq,
            oldest_seq=session.oldest_seq,
            turns_completed=session.turns_completed,
            created_ns=session.created_ns,
            running_turn_id=running[0] if running else "",
            waiting_turns=len(_open(session)) - len(running),
            questions=self._unanswered(ref, session),
        )

    def _count_step(self, run: RunOwnership, publication: Publication | None) -> int:
        assert isinstance(run.ref, SessionRef)
        session = self._fenced(Ownership(run.ref, run.epoch, run.owner))
        turn = session.turns.get(run.turn_id)
        if turn is None or turn.end_seq is not None:
            raise StaleEpoch
        if publication is None:
            return self._keep(session, None)
        return self._keep(session, publication.head_seq, *publication.renumbered, events=publication.events)

    def _fenced(self, ownership: Ownership) -> StoredSession:
        session = self._sessions.get(ownership.ref)
        if session is None or (session.epoch, self._owners[ownership.ref]) != (ownership.epoch, ownership.owner):
            raise StaleEpoch
        return session

    def _keep(
        self,
        session: StoredSession,
        head_seq: int | None,
        *turns: StoredTurn,
        events: Sequence[EventRow] = (),
        **changed: Any,
    ) -> int:
        """changed: fields of the session."""
        assert isinstance(session.turns, dict)
        for turn in turns:
            session.turns[turn.turn_id] = turn
            if turn.may_have_steps and turn.end_seq is not None:
                self.steps.forget(Life(session.ref.tenant, turn.life_id))
        session.commit += 1
        if head_seq is not None:
            session.head_seq = head_seq
        if events:
            kept = self._events.setdefault(session.ref, [])
            kept += events
            session.kept = _extent(kept)
        for name, value in changed.items():
            setattr(session, name, value)
        return session.commit


def _extent(rows: Sequence[EventRow]) -> EventExtent:
    return EventExtent(rows[0].first_seq, rows[0].begin_bytes, rows[-1].end_bytes) if rows else EventExtent()


def _open(session: StoredSession) -> list[StoredTurn]:
    return [turn for turn in session.turns.values() if turn.end_seq is None]


def _sort_key(ref: SessionRef) -> tuple[str, str]:
    return ref.tenant, ref.session_id
