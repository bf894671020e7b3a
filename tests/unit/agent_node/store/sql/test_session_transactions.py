"""What the first activation of a session says without reading it is what reading it says."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from agent_node.store import Ownership
from agent_node.store.session_records import SEQ_RANGE, StoredSession
from agent_node.store.sql.session_reads import read_session, with_turns
from agent_node.store.sql.sessions import SqlStore
from agentring.ids import parse_session
from harness.postgres import PostgresProcess
from harness.stored_turns import accepted, completed, epoch

REF = parse_session("", "s")
FIRST, SECOND = Ownership(REF, epoch(1), "n1/1"), Ownership(REF, epoch(2), "n2/1")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_new_session_is_as_it_was_made(
    tmp_path: Path, postgres: PostgresProcess, open_sql: Callable[..., Awaitable[SqlStore]], kind: str
) -> None:
    store = await open_sql(f"sqlite:///{tmp_path / 'store.db'}" if kind == "sqlite" else postgres.database())
    made = await store.activate(FIRST, "agent")

    def read(connection: Connection) -> StoredSession:
        session = read_session(connection, REF)
        assert session is not None
        return with_turns(connection, session, SEQ_RANGE, 9)

    assert made == await store.driver.read(read)
    await store.commit_turn(FIRST, completed(accepted(1), '{"n": 1}'))
    assert (await store.activate(SECOND, "agent")).state_json == '{"n": 1}'
