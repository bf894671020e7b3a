"""What a session lets in: turns and answers, one at a time, each stored before anybody learns that it was accepted.

Guarantees: a turn_id that was accepted before is recognised, however long ago, and nothing is changed for it; what is
looked at before a turn is accepted still holds when the store has it; nothing is let in once the session is closed or
on its way out. Each change is carried out to its end by the caller (session.py).
"""

import os
from dataclasses import replace

from agent_node.log_fields import TRACE
from agent_node.quota.quota import Hold
from agent_node.run.call_terms import NO_TERMS, CallTerms, to_stored
from agent_node.run.input_fingerprint import input_fingerprint
from agent_node.session import files
from agent_node.session.mailbox import WaitingTurn
from agent_node.session.state import SessionState
from agent_node.session.turn_loop import cancel_all
from agent_node.store import StoredTurn
from agentring.errors import NodeDraining, QuotaExceeded, SessionClosed, TurnIdReused, TurnInProgress
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import TURN_STATE_ACCEPTED, TURN_STATE_RUNNING


async def accept(
    session: SessionState,
    turn_id: str,
    input: session_pb2.Input,
    on_busy: session_pb2.OnBusy.ValueType,
    retry: bool,
    terms: CallTerms,
) -> tuple[StoredTurn, bool]:
    """As Session.submit: stores a turn, publishes it, and puts it into the mailbox."""
    fingerprint = input_fingerprint(input)
    async with session.lock:
        known = session.turns.get(turn_id)
        if known is None and (input.parts or _would_disturb(session, on_busy)):
            known = await session.find_turn(turn_id)  # it may have ended long ago, and must change nothing
        if known is not None:
            return _same(known, fingerprint), False
        _check_accepts(session, on_busy)
        if session.all_ended:
            session.slots.check_room(session.ref.tenant)
        try:
            hold = _hold(session, input, on_busy, terms.subject, retry)
        except QuotaExceeded:
            if (known := await session.find_turn(turn_id)) is None:
                raise
            return _same(known, fingerprint), False  # it may have ended long ago
        try:
            if input.parts:
                await files.use(session, input)  # what is refused for its files interrupts nothing
            if on_busy == session_pb2.ON_BUSY_INTERRUPT:
                await cancel_all(session, "INTERRUPTED")
                _check_accepts(session, on_busy)
            # Where no turn is ahead it is stored as running, which saves a write. A volatile store knows nothing of
            # earlier owners: there, a turn that comes again may have ended the node that ran it.
            state = TURN_STATE_ACCEPTED if session.turns_ahead else TURN_STATE_RUNNING
            deaths = int(retry and not session.store.durable)
            number = session.turns_accepted + 1
            raw = to_stored(input, terms)
            shown = raw if terms == NO_TERMS else input.SerializeToString()  # what only the agent may see is no event
            async with session.writer:
                accepted_seq = session.log.used_seq + 1
                life_id = os.urandom(16).hex()
                turn = StoredTurn(
                    turn_id, fingerprint, number, raw, state, 1, accepted_seq, deaths=deaths, life_id=life_id
                )
                head_seq = session.checkpoint_seq
                rows = session.events.rows(session.log, head_seq)
                acceptance = await session.store.accept_turn(session.ownership, turn, head_seq, rows)
                session.events.written(rows)
            session.events.trim_soon(rows)
            if acceptance.known is not None:
                session.turns.put(acceptance.known)
                return _same(acceptance.known, fingerprint), False
            session.turns_accepted = number
            if state == TURN_STATE_RUNNING:
                session.begun_commit = acceptance.commit
            accepted = _accepted(session).SerializeToString() if session.turns_ahead else b""
            seq = session.log.append_accepted(turn_id, accepted, shown)
            if seq != accepted_seq:  # a running turn has published meanwhile
                turn = replace(turn, accepted_seq=seq)
            session.turns.put(turn)
            if hold is not None and session.turn_holds is not None:
                session.turn_holds[turn_id], hold = hold, None
            session.audit("turn_accepted", turn, acceptance.commit)
            if not session.begins_nothing:
                session.mailbox.put(WaitingTurn(turn_id, input, TRACE.get(), terms))
            return turn, True
        finally:
            session.files_coming = ()
            if hold is not None:
                hold.release()


async def take_file(session: SessionState, data: bytes) -> None:
    """As Session.put_file."""
    async with session.lock:  # the session does not leave meanwhile
        _check_open(session)
        await files.put(session, data)


async def answer(session: SessionState, input_id: str, input: session_pb2.Input) -> None:
    """As Session.reply."""
    async with session.lock:  # what is answered here is in the store before the last checkpoint
        _check_open(session)
        await session.questions.reply(input_id, input)


def _hold(
    session: SessionState, input: session_pb2.Input, on_busy: session_pb2.OnBusy.ValueType, subject: str, retry: bool
) -> Hold | None:
    """Counts a turn that is about to be accepted, where its tenant may have limits. Raises QuotaExceeded."""
    if (quota := session.env.quota) is None:
        return None
    if retry and not session.store.durable:
        return quota.resume_turn(session.ref.tenant, subject)  # the owner before may have accepted it
    free: int | None = session.slots.free if session.all_ended else 0
    if on_busy == session_pb2.ON_BUSY_INTERRUPT and not session.all_ended:
        free = None  # it takes the place of others
    return quota.accept_turn(session.ref.tenant, subject, input.ByteSize(), free)


def _same(known: StoredTurn, fingerprint: bytes) -> StoredTurn:
    if known.fingerprint != fingerprint:
        raise TurnIdReused
    return known


def _accepted(session: SessionState) -> session_pb2.TurnAccepted:
    return session_pb2.TurnAccepted(turns_ahead=session.turns_ahead, questions=session.questions.open_questions())


def _would_disturb(session: SessionState, on_busy: session_pb2.OnBusy.ValueType) -> bool:
    """Whether a new turn would be refused, or others be cancelled for it."""
    if session.env.halts.current is not None:
        return True
    if session.all_ended:
        return not session.slots.has_room(session.ref.tenant)
    may_wait = on_busy not in (session_pb2.ON_BUSY_REJECT, session_pb2.ON_BUSY_INTERRUPT)
    return not may_wait or session.mailbox.is_full


def _check_accepts(session: SessionState, on_busy: session_pb2.OnBusy.ValueType) -> None:
    _check_open(session)
    if session.env.halts.current is not None:
        session.env.halts.check(session.ref, session.stored.agent)
    if on_busy == session_pb2.ON_BUSY_REJECT and not session.all_ended:
        raise TurnInProgress(session.running.turn_id if session.running is not None else "")
    if on_busy != session_pb2.ON_BUSY_INTERRUPT:
        session.mailbox.check_capacity()


def _check_open(session: SessionState) -> None:
    session.writer.check()
    if session.closed:
        raise SessionClosed
    if session.draining:
        raise NodeDraining
