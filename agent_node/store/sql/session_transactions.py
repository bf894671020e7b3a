"""The SQL store's transactions, one function each, over a connection on which a transaction has begun.

Guarantees: the raise is one statement that either lowers nobody or makes this epoch the highest, and the read is a
second one (a single statement with RETURNING misses what a concurrent transaction was committing); every other one
begins with an UPDATE of the session's row that compares epoch and owner, and thereby locks the row until the commit.
A refusal (StaleEpoch) is raised before anything was written, so that others can share the transaction. A write that
was committed, and whose answer was lost, is recognised by its commit_id when it is tried again: a turn's number would
not tell, since a write may concern no turn.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError
from sqlalchemy import Connection, RowMapping
from xxhash import xxh3_64_hexdigest

from agent_node.store.session_records import Acceptance, EventRow, Ownership, StoredSession, StoredTurn, ToolStart
from agent_node.store.sql import session_events as events
from agent_node.store.sql import session_inputs as inputs
from agent_node.store.sql import session_statements as statements
from agentring.agent import PastTurn
from agentring.errors import SessionCorrupt, StaleEpoch
from agentring.ids import Epoch, SessionRef

Values = Mapping[str, Any]

_READ = statements.READ.add_columns(*events.EXTENT)
_MAY_HAVE_WAITED = 256
"""How many of the latest turns an activation looks at for ends that its predecessor may not have told."""


def raise_and_read(
    connection: Connection, ownership: Ownership, agent: str, *, generation: int, seq_range: int, max_history_turns: int
) -> StoredSession:
    """Raises the session's epoch and reads the session, which is made where there is none.

    Raises StaleEpoch: the stored epoch is no lower, or the database has gone on to another generation of the cluster.
    """
    if connection.execute(statements.CLUSTER).scalar_one() != generation:
        raise StaleEpoch
    now_ns = time.time_ns()
    raised = connection.execute(
        statements.RAISE[connection.dialect.name],
        {
            **_ref(ownership.ref),
            "agent": agent,
            "epoch": ownership.epoch,
            "owner": ownership.owner,
            "was_released": 1,
            "commit_id": "",
            "commit_number": 1,
            "reserved_seq": seq_range,
            "head_seq": 0,
            "turns_completed": 0,
            "created_ns": now_ns,
            "changed_ns": now_ns,
        },
    )
    if raised.rowcount != 1:
        raise StaleEpoch
    session = read_session(connection, ownership.ref)
    assert session is not None  # this transaction holds its row
    return session if session.closed else _with_turns(connection, session, seq_range, max_history_turns)


def read_session(connection: Connection, ref: SessionRef) -> StoredSession | None:
    """The session without its turns; None: there is none."""
    row = connection.execute(_READ, _keys(ref)).mappings().first()
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
        kept=events.extent_of(row),
        turns_accepted=row["turns_accepted"] or 0,
    )


def read_turn(connection: Connection, ref: SessionRef, turn_id: str) -> StoredTurn | None:
    """One turn; None: there is none."""
    row = connection.execute(statements.READ_TURN, _keys(ref) | {"k_turn_id": turn_id}).mappings().first()
    return _turn(row) if row is not None else None


def hold(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    head_seq: int | None,
    changes: Values | None = None,
    *,
    completed: int = 0,
) -> tuple[int, bool]:
    """Compares epoch and owner, locks the session's row and changes it; the transaction's number, and whether it is
    new: False, it has landed before. Raises StaleEpoch.

    changes: columns of the session's row beside those that every write changes.
    """
    keys = _keys(ownership.ref) | {
        "k_epoch": ownership.epoch,
        "k_owner": ownership.owner,
        "new_commit_id": commit_id,
        "new_head_seq": head_seq,
        "new_changed_ns": time.time_ns(),
        "completed": completed,
    }
    statement = statements.HOLD.values(**changes) if changes else statements.HOLD
    number = connection.execute(statement, keys).scalar()
    if number is not None:
        return int(number), True
    landed = connection.execute(statements.LANDED, keys).scalar()
    if landed is None:
        raise StaleEpoch
    return int(landed), False


def accept_turn(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    turn: StoredTurn,
    head_seq: int | None,
    told: Sequence[EventRow] = (),
) -> Acceptance:
    """Adds a turn, unless there is one of its name."""
    commit, fresh = hold(connection, ownership, commit_id, head_seq)
    if not fresh:
        return Acceptance(commit, None)
    events.keep(connection, ownership.ref, told)
    added = connection.execute(
        statements.ADD_TURN[connection.dialect.name],
        {
            **_ref(ownership.ref),
            "turn_id": turn.turn_id,
            "number": turn.number,
            "fingerprint": turn.fingerprint,
            "input": turn.input,
            "state": turn.state,
            "attempt": turn.attempt,
            "epoch": ownership.epoch,
            "accepted_seq": turn.accepted_seq,
            "outcome": b"",
            "deaths": turn.deaths,
        },
    )
    return Acceptance(commit, None if added.rowcount == 1 else read_turn(connection, ownership.ref, turn.turn_id))


def move_turns(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    head_seq: int | None,
    moved: Sequence[StoredTurn],
    told: Sequence[EventRow] = (),
    *,
    completed: StoredTurn | None = None,
    output_text: str | None = None,
    state_json: str | None = None,
) -> int:
    """Brings turns up to date, and the session's events; where a turn has completed, its words and the session's state
    with it."""
    commit, fresh = hold(connection, ownership, commit_id, head_seq, completed=int(completed is not None))
    if not fresh:
        return commit
    events.keep(connection, ownership.ref, told)
    for turn in moved:
        values = _keys(ownership.ref) | {
            "k_turn_id": turn.turn_id,
            "k_epoch": ownership.epoch,
            "new_state": turn.state,
            "new_attempt": turn.attempt,
            "new_accepted_seq": turn.accepted_seq,
            "new_end_seq": turn.end_seq,
            "new_outcome": turn.outcome,
            "new_deaths": turn.deaths,
            "new_output_text": output_text if turn is completed else None,
        }
        connection.execute(statements.MOVE_TURN, values)
    if state_json is not None:
        connection.execute(
            statements.KEEP_STATE[connection.dialect.name],
            {**_ref(ownership.ref), "state_json": state_json, "checksum": xxh3_64_hexdigest(state_json.encode())},
        )
    return commit


def start_tool(connection: Connection, ownership: Ownership, commit_id: str, start: ToolStart) -> int:
    """Records a tool's start."""
    commit, fresh = hold(connection, ownership, commit_id, None)
    if fresh:
        values = {
            **_ref(ownership.ref),
            "commit_number": commit,
            "epoch": ownership.epoch,
            "turn_id": start.turn_id,
            "attempt": start.attempt,
            "call_id": start.call_id,
            "name": start.name,
        }
        connection.execute(statements.ADD_TOOL_START, values)
    return commit


def _with_turns(
    connection: Connection, session: StoredSession, seq_range: int, max_history_turns: int
) -> StoredSession:
    keys = _keys(session.ref)
    unfinished = [_turn(row) for row in connection.execute(statements.READ_OPEN, keys).mappings()]
    completed = (
        connection.execute(statements.READ_COMPLETED, keys | {"at_most": max_history_turns}).mappings().all()[::-1]
    )
    log_seq = session.reserved_seq - seq_range
    known = [_turn(row) for row in completed]
    if log_seq > session.head_seq:
        # Ends that were told where the story is lost: turns that were cancelled while another ran, say.
        since = keys | {"after_number": session.turns_accepted - _MAY_HAVE_WAITED, "after_seq": session.head_seq}
        known += [_turn(row) for row in connection.execute(statements.READ_ENDED, since).mappings()]
    asked = inputs.read_open(connection, session.ref) if unfinished else {}
    try:
        for read in (*known, *unfinished):
            read.check()
        for question in asked.values():
            question.answer_message()
    except DecodeError:
        raise SessionCorrupt from None
    return replace(
        session,
        history=tuple(PastTurn(_turn(row).input_message().text, row["output_text"] or "") for row in completed),
        turns={turn.turn_id: turn for turn in [*known, *unfinished]},
        inputs=asked,
        log_seq=log_seq,
    )


def _state_json(row: RowMapping) -> str:
    if row["state_json"] is None or row["closed_ns"] is not None:
        return "{}"
    state_json = str(row["state_json"])
    if xxh3_64_hexdigest(state_json.encode()) != row["checksum"]:
        raise SessionCorrupt
    return state_json


def _turn(row: RowMapping) -> StoredTurn:
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
    )


def _ref(ref: SessionRef) -> dict[str, Any]:
    return {"tenant": ref.tenant, "session_id": ref.session_id}


def _keys(ref: SessionRef) -> dict[str, Any]:
    return {"k_tenant": ref.tenant, "k_session_id": ref.session_id}
