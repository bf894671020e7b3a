"""The SQL store's transactions, one function each, over a connection on which a transaction has begun.

Guarantees: the raise is one statement that either lowers nobody or makes this epoch the highest, and the read is a
second one (a single statement with RETURNING misses what a concurrent transaction was committing); every other one
begins with an UPDATE of the session's row that compares epoch and owner, and thereby locks the row until the commit.
A refusal (StaleEpoch) is raised before anything was written, so that others can share the transaction. A write that
was committed, and whose answer was lost, is recognised by its commit_id when it is tried again: a turn's number would
not do, since a write may concern no turn.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from xxhash import xxh3_64_hexdigest

from agent_node.store.session_records import (
    Acceptance,
    EventRow,
    Ownership,
    StoredInput,
    StoredSession,
    StoredTurn,
    ToolStart,
    Trim,
)
from agent_node.store.sql import session_events, session_inputs, step_schema
from agent_node.store.sql import session_statements as statements
from agent_node.store.sql.session_reads import read_session, read_turn, with_turns
from agent_node.store.sql.session_schema import session_columns, session_keys
from agent_node.store.step_records import Life
from agentring.errors import StaleEpoch

Values = Mapping[str, Any]


def raise_and_read(
    connection: Connection, ownership: Ownership, agent: str, *, generation: int, seq_range: int, max_history_turns: int
) -> StoredSession:
    """Raises the session's epoch and reads the session, which is made where there is none.

    Raises StaleEpoch: the stored epoch is no lower, or the database has gone on to another generation of the cluster.
    """
    values = raised_values(ownership, agent, generation, seq_range)
    # Invariant: the epoch is raised before anything is read, so a read misses no write of an earlier owner
    # (tests/unit/agent_node/store/test_race.py).
    raised = statements.RAISE.first(connection, values)
    if raised is None:
        raise StaleEpoch
    if raised["commit_number"] == 1 and raised["created_ns"] == values["created_ns"]:
        return new_session(ownership, values)  # made by this statement: there is no more
    session = read_session(connection, ownership.ref)
    assert session is not None  # this transaction holds its row
    return session if session.closed else with_turns(connection, session, seq_range, max_history_turns)


def raised_values(ownership: Ownership, agent: str, generation: int, seq_range: int) -> dict[str, Any]:
    """The parameters of RAISE."""
    now_ns = time.time_ns()
    return {
        **session_columns(ownership.ref),
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
        "k_generation": generation,
    }


def new_session(ownership: Ownership, values: Values) -> StoredSession:
    """The session that was made with these parameters of RAISE."""
    return StoredSession(
        ownership.ref,
        values["agent"],
        ownership.epoch,
        values["created_ns"],
        reserved_seq=values["reserved_seq"],
        commit=values["commit_number"],
    )


def assert_owned(
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
    keys = owned_values(ownership, commit_id, head_seq, completed=completed)
    # Invariant: no write of an epoch lands after one of a later epoch (tests/unit/agent_node/store/test_fencing.py).
    if changes:
        number = connection.execute(statements.ASSERT_OWNED.statement.values(**changes), keys).scalar()
    else:
        number = statements.ASSERT_OWNED.scalar(connection, keys)
    if number is not None:
        return int(number), True
    landed = statements.LANDED.scalar(connection, keys)
    if landed is None:
        raise StaleEpoch
    return int(landed), False


def accept_turn(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    turn: StoredTurn,
    head_seq: int | None,
    events: Sequence[EventRow] = (),
) -> Acceptance:
    """Adds a turn, unless there is one of its name."""
    commit, fresh = assert_owned(connection, ownership, commit_id, head_seq)
    if not fresh:
        return Acceptance(commit, None)
    session_events.keep(connection, ownership.ref, events)
    added = statements.ADD_TURN.change(connection, turn_columns(ownership, turn))
    return Acceptance(commit, None if added == 1 else read_turn(connection, ownership.ref, turn.turn_id))


def update_turns(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    head_seq: int | None,
    turns: Sequence[StoredTurn],
    events: Sequence[EventRow] = (),
    *,
    completed: StoredTurn | None = None,
    output_text: str | None = None,
    state_json: str | None = None,
) -> int:
    """Brings turns up to date, and the session's events; where a turn has completed, its words and the session's state
    with it."""
    commit, fresh = assert_owned(connection, ownership, commit_id, head_seq, completed=int(completed is not None))
    if not fresh:
        return commit
    session_events.keep(connection, ownership.ref, events)
    for turn in turns:
        words = output_text if turn is completed else None
        statements.UPDATE_TURN.change(connection, turn_changes(ownership, turn, words))
        if turn.may_have_steps and turn.end_seq is not None:
            step_schema.forget(connection, Life(ownership.ref.tenant, turn.life_id))
    if state_json is not None:
        statements.KEEP_STATE.change(connection, state_columns(ownership, state_json))
    return commit


def start_tool(connection: Connection, ownership: Ownership, commit_id: str, start: ToolStart) -> int:
    """Records a tool's start."""
    commit, fresh = assert_owned(connection, ownership, commit_id, None)
    if fresh:
        values = {
            **session_columns(ownership.ref),
            "commit_number": commit,
            "epoch": ownership.epoch,
            "turn_id": start.turn_id,
            "attempt": start.attempt,
            "call_id": start.call_id,
            "name": start.name,
        }
        connection.execute(statements.ADD_TOOL_START, values)
    return commit


def keep_input(connection: Connection, ownership: Ownership, commit_id: str, asked: StoredInput) -> int:
    """Adds a question, or brings it up to date."""
    commit, fresh = assert_owned(connection, ownership, commit_id, None)
    if fresh:
        session_inputs.keep(connection, ownership.ref, asked)
    return commit


def trim_events(connection: Connection, ownership: Ownership, commit_id: str, before_bytes: int) -> Trim:
    """Drops the oldest events."""
    commit, fresh = assert_owned(connection, ownership, commit_id, None)
    if fresh:
        session_events.trim(connection, ownership.ref, before_bytes)
    return Trim(commit, session_events.extent(connection, ownership.ref))


def change_session(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    head_seq: int | None,
    events: Sequence[EventRow],
    changes: Values,
) -> int:
    """Changes columns of the session's row, and adds events."""
    commit, fresh = assert_owned(connection, ownership, commit_id, head_seq, changes)
    if fresh:
        session_events.keep(connection, ownership.ref, events)
    return commit


def owned_values(ownership: Ownership, commit_id: str, head_seq: int | None, *, completed: int = 0) -> dict[str, Any]:
    """The parameters of ASSERT_OWNED."""
    return {
        **session_keys(ownership.ref),
        "k_epoch": ownership.epoch,
        "k_owner": ownership.owner,
        "new_commit_id": commit_id,
        "new_head_seq": head_seq,
        "new_changed_ns": time.time_ns(),
        "completed": completed,
    }


def turn_columns(ownership: Ownership, turn: StoredTurn) -> dict[str, Any]:
    """A new turn's row."""
    return {
        **session_columns(ownership.ref),
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
        "life_id": turn.life_id,
    }


def turn_changes(ownership: Ownership, turn: StoredTurn, output_text: str | None) -> dict[str, Any]:
    """The parameters of UPDATE_TURN."""
    return {
        **session_keys(ownership.ref),
        "k_turn_id": turn.turn_id,
        "k_epoch": ownership.epoch,
        "new_state": turn.state,
        "new_attempt": turn.attempt,
        "new_accepted_seq": turn.accepted_seq,
        "new_end_seq": turn.end_seq,
        "new_outcome": turn.outcome,
        "new_deaths": turn.deaths,
        "new_output_text": output_text,
    }


def state_columns(ownership: Ownership, state_json: str) -> dict[str, Any]:
    """The state's row."""
    return {
        **session_columns(ownership.ref),
        "state_json": state_json,
        "checksum": xxh3_64_hexdigest(state_json.encode()),
    }
