"""What agents and their models say comes back as it was said, whatever characters it has."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from agent_node.store import MemoryTaskStore, Ownership, Store, TaskEnd, TaskRequest, ToolStart
from agent_node.store.sql.session_schema import tool_starts
from agent_node.store.sql.sessions import SqlStore
from agentring.agent import PastTurn
from agentring.ids import parse_session, parse_task
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED
from harness.stored_turns import accepted, completed, epoch

OWNED = Ownership(parse_session("", "s"), epoch(1), "n1/1")
TASK = parse_task("", "k")
WORDS = "a\0b\x01c\x010\x01\x01\0\0é"


@pytest.mark.parametrize("words", [WORDS, "", "plain"])
async def test_a_turns_words(store: Store, words: str) -> None:
    await store.activate(OWNED, "agent")
    await store.accept_turn(OWNED, accepted(1), 0)
    await store.commit_turn(OWNED, replace(completed(accepted(1)), past=PastTurn("in 1", words)))
    again = await store.activate(replace(OWNED, epoch=epoch(2)), "agent")
    assert [past.output_text for past in again.history] == [words]


async def test_a_tasks_words(url: str, open_sql: Callable[..., Awaitable[SqlStore]]) -> None:
    tasks = MemoryTaskStore() if url == "memory:" else (await open_sql(url)).tasks
    await tasks.accept(TaskRequest(TASK, "agent", b"f" * 32, b"", 60.0, False, "r1"))
    await tasks.start(TASK, epoch(1), "n1/1")
    await tasks.end(TASK, epoch(1), TaskEnd(TASK_STATE_COMPLETED, b"", b"", WORDS))
    ended = await tasks.read(TASK)
    assert ended is not None
    assert ended.text == WORDS


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
async def test_a_tools_name(url: str, open_sql: Callable[..., Awaitable[SqlStore]]) -> None:
    store = await open_sql(url)
    await store.activate(OWNED, "agent")
    await store.start_tool(OWNED, ToolStart("t1", 1, "t1.1.1", WORDS))
    names = await store.driver.read(lambda connection: connection.execute(sa.select(tool_starts.c.name)).all())
    assert names == [(WORDS,)]
