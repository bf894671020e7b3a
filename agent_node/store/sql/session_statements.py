"""The SQL store's statements, made once: those that a transaction begins with, then what it reads and changes.

Parameters that begin with `k_` pick rows, those with `new_` are what is written. Used by session_transactions.py alone,
which says in what order they are safe.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import bindparam, case, func, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.sql.hot_statement import HotStatement
from agent_node.store.sql.session_schema import cluster, of_session, sessions, states, tool_starts, turns
from agentring.v1 import session_pb2

OWNER_LIVES = 2
"""In `was_released`: 0, the last owner was lost; 1, it gave the session up; 2, it activates it anew."""

OWNED = of_session(sessions) & (sessions.c.epoch == bindparam("k_epoch")) & (sessions.c.owner == bindparam("k_owner"))
ASSERT_OWNED = HotStatement(
    update(sessions)
    .where(OWNED, sessions.c.commit_id != bindparam("new_commit_id"))
    .values(
        commit_id=bindparam("new_commit_id"),
        commit_number=sessions.c.commit_number + literal_column("1"),  # no parameter to be set each time
        head_seq=func.coalesce(bindparam("new_head_seq"), sessions.c.head_seq),
        changed_ns=bindparam("new_changed_ns"),
        turns_completed=sessions.c.turns_completed + bindparam("completed"),
    )
    .returning(sessions.c.commit_number)
)
LANDED = HotStatement(
    select(sessions.c.commit_number).where(
        # Without the owner: the write that gave the ownership up has landed, too.
        of_session(sessions),
        sessions.c.epoch == bindparam("k_epoch"),
        sessions.c.commit_id == bindparam("new_commit_id"),
    )
)
READ = (
    select(
        sessions,
        states.c.state_json,
        states.c.checksum,
        select(func.max(turns.c.number)).where(of_session(turns)).scalar_subquery().label("turns_accepted"),
    )
    .outerjoin(states, (states.c.tenant == sessions.c.tenant) & (states.c.session_id == sessions.c.session_id))
    .where(of_session(sessions))
)
"""All of a session that is one row: an activation waits for each statement's answer."""
READ_TURN = HotStatement(select(turns).where(of_session(turns), turns.c.turn_id == bindparam("k_turn_id")))
READ_OPEN = HotStatement(select(turns).where(of_session(turns), turns.c.end_seq.is_(None)).order_by(turns.c.number))
READ_ENDED = HotStatement(
    select(turns)
    .where(of_session(turns), turns.c.number > bindparam("after_number"), turns.c.end_seq > bindparam("after_seq"))
    .order_by(turns.c.number)
)
READ_COMPLETED = HotStatement(
    select(turns)
    .where(of_session(turns), turns.c.state == session_pb2.TURN_STATE_COMPLETED)
    .order_by(turns.c.number.desc())
    .limit(bindparam("at_most"))
)
UPDATE_TURN = HotStatement(
    update(turns)
    .where(of_session(turns), turns.c.turn_id == bindparam("k_turn_id"))
    .values(
        state=bindparam("new_state"),
        attempt=bindparam("new_attempt"),
        epoch=bindparam("k_epoch"),
        accepted_seq=bindparam("new_accepted_seq"),
        end_seq=bindparam("new_end_seq"),
        outcome=bindparam("new_outcome"),
        deaths=bindparam("new_deaths"),
        output_text=func.coalesce(bindparam("new_output_text", type_=turns.c.output_text.type), turns.c.output_text),
    )
)


def adding_session(insert: Callable[..., Any]) -> Any:
    """Adds a session's row, whose columns are parameters, to a database of the generation `k_generation`."""
    names = [column.name for column in sessions.columns if column.name != "closed_ns"]
    row = select(*(bindparam(name, type_=sessions.c[name].type) for name in names))
    is_current = select(cluster.c.generation).scalar_subquery() == bindparam("k_generation")
    return insert(sessions).from_select(names, row.where(is_current))


def _raising(insert: Callable[..., Any]) -> Any:
    upsert = adding_session(insert)
    return upsert.on_conflict_do_update(
        index_elements=[sessions.c.tenant, sessions.c.session_id],
        set_={
            "epoch": upsert.excluded.epoch,
            "owner": upsert.excluded.owner,
            "was_released": case(
                (sessions.c.owner == "", 1), (sessions.c.owner == upsert.excluded.owner, OWNER_LIVES), else_=0
            ),
            "reserved_seq": sessions.c.reserved_seq + upsert.excluded.reserved_seq,
            "commit_id": "",
            "commit_number": sessions.c.commit_number + 1,
            "changed_ns": upsert.excluded.changed_ns,
        },
        where=sessions.c.epoch < upsert.excluded.epoch,
    ).returning(sessions.c.commit_number, sessions.c.created_ns)


def _keeping_state(insert: Callable[..., Any]) -> Any:
    upsert = insert(states)
    return upsert.on_conflict_do_update(
        index_elements=[states.c.tenant, states.c.session_id],
        set_={"state_json": upsert.excluded.state_json, "checksum": upsert.excluded.checksum},
    )


def _adding_turn(insert: Callable[..., Any]) -> Any:
    return insert(turns).on_conflict_do_nothing(index_elements=[turns.c.tenant, turns.c.session_id, turns.c.turn_id])


# What the two say in words of their own.
_INSERTS: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
RAISE = HotStatement({dialect: _raising(insert) for dialect, insert in _INSERTS.items()})
KEEP_STATE = HotStatement(
    {dialect: _keeping_state(insert) for dialect, insert in _INSERTS.items()},
    [column.name for column in states.columns],
)
ADD_TURN = HotStatement(
    {dialect: _adding_turn(insert) for dialect, insert in _INSERTS.items()},
    [column.name for column in turns.columns if column.name not in ("end_seq", "output_text")],
)
ADD_TOOL_START = insert(tool_starts)
