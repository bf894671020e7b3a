"""Reading sessions and their turns from the SQL store, over a connection on which a transaction has begun.

What cannot be read back as it was written is SessionCorrupt, not a wrong session. Used by session_transactions.py and
sessions.py.
"""

from dataclasses import replace
from hashlib import blake2b

from google.protobuf.message import DecodeError
from sqlalchemy import Connection
from xxhash import xxh3_64_hexdigest

from agent_node.store.published import still_valid
from agent_node.store.session_records import StoredSession, StoredTurn
from agent_node.store.sql import session_events, session_inputs, step_published
from agent_node.store.sql import session_statements as statements
from agent_node.store.sql.hot_statement import HotStatement, Row
from agent_node.store.sql.session_schema import session_keys
from agent_node.store.step_records import Life
from agentring.agent import PastTurn
from agentring.errors import SessionCorrupt
from agentring.ids import Epoch, SessionRef
from agentring.v1.session_pb2 import TURN_STATE_RUNNING

_READ = HotStatement(statements.READ.add_columns(*session_events.EXTENT))
_MAY_HAVE_WAITED = 256
"""How many of the latest turns an activation looks at for ends that its predecessor may not have sent."""


def read_session(connection: Connection, ref: SessionRef) -> StoredSession | None:
    """The session without its turns; None: there is none."""
    row = _READ.first(connection, session_keys(ref))
    if row is None:
        return None
    return StoredSession(
        ref=ref,
        agent=row["agent"],
        epoch=Epoch(row["epoch"]),
        created_ns=row["created_ns"],
        was_released=row["was_released"] == 1,
        owner_lives=row["was_released"] == statements.OWNER_LIVES,
        closed=row["closed_ns"] is not None,
        state_json=_state_json(row),
        turns_completed=row["turns_completed"],
        head_seq=row["head_seq"],
        log_seq=row["reserved_seq"],
        reserved_seq=row["reserved_seq"],
        commit=row["commit_number"],
        kept=session_events.extent_of(row),
        turns_accepted=row["turns_accepted"] or 0,
    )


def read_turn(connection: Connection, ref: SessionRef, turn_id: str) -> StoredTurn | None:
    """One turn; None: there is none."""
    row = statements.READ_TURN.first(connection, session_keys(ref) | {"k_turn_id": turn_id})
    return _turn(row) if row is not None else None


def with_turns(connection: Connection, session: StoredSession, seq_range: int, max_history_turns: int) -> StoredSession:
    """The session with the turns and questions that an activation needs. Raises SessionCorrupt."""
    keys = session_keys(session.ref)
    unfinished = [
        _with_published(connection, session, _turn(row)) for row in statements.READ_OPEN.all(connection, keys)
    ]
    completed = statements.READ_COMPLETED.all(connection, keys | {"at_most": max_history_turns})[::-1]
    log_seq = session.reserved_seq - seq_range
    known = [_turn(row) for row in completed]
    if log_seq > session.head_seq:
        # Ends whose events are lost: of turns that were cancelled while another ran, say.
        since = keys | {"after_number": session.turns_accepted - _MAY_HAVE_WAITED, "after_seq": session.head_seq}
        known += [_turn(row) for row in statements.READ_ENDED.all(connection, since)]
    asked = session_inputs.read_open(connection, session.ref) if unfinished else {}
    try:
        for read in (*known, *unfinished):
            read.check()
        for question in asked.values():
            question.answer_message()
    except DecodeError:
        raise SessionCorrupt from None
    return replace(
        session,
        history=tuple(PastTurn(_turn(row).input_text, row["output_text"] or "") for row in completed),
        turns={turn.turn_id: turn for turn in [*known, *unfinished]},
        inputs=asked,
        log_seq=log_seq,
    )


def _with_published(connection: Connection, session: StoredSession, turn: StoredTurn) -> StoredTurn:
    """Of the turn that runs."""
    if turn.state != TURN_STATE_RUNNING:
        return turn
    published = step_published.read(connection, Life(session.ref.tenant, turn.life_id))
    return replace(turn, published=still_valid(published))


def _state_json(row: Row) -> str:
    if row["state_json"] is None or row["closed_ns"] is not None:
        return "{}"
    state_json = str(row["state_json"])
    if xxh3_64_hexdigest(state_json.encode()) != row["checksum"]:
        raise SessionCorrupt
    return state_json


def _turn(row: Row) -> StoredTurn:
    return StoredTurn(
        turn_id=row["turn_id"],
        fingerprint=row["fingerprint"],
        number=row["number"],
        input=row["input"],
        state=row["state"],
        attempt=row["attempt"],
        accepted_seq=row["accepted_seq"],
        end_seq=row["end_seq"],
        outcome=row["outcome"],
        deaths=row["deaths"],
        life_id=row["life_id"] or _unwritten_life(row),
    )


def _unwritten_life(row: Row) -> str:
    """Of a turn that an earlier release accepted: the same in each of its attempts."""
    name = f"{row['tenant']}/{row['session_id']}/{row['turn_id']}"
    return blake2b(name.encode(), digest_size=16).hexdigest()
