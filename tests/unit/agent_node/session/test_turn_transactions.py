"""What a turn costs of the store: two transactions, and one more where it is the session's first."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from agent_node.agents.echo import echo
from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.settings import NodeSettings
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.opening import open_store
from agentring.errors import NodeFenced
from agentring.ids import parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import FakeClaims, environment
from harness.stored_turns import HERE

REF = parse_session("", "s")

T = TypeVar("T")


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The works that have gone to SQLite, reads apart."""
    works: list[object] = []
    transact = SqliteDriver.transact

    async def counted(self: SqliteDriver, work: Callable[[Connection], T], **options: Any) -> T:
        works.append(work)
        return await transact(self, work, **options)

    monkeypatch.setattr(SqliteDriver, "transact", counted)
    return works


async def use(host: Host, turn_id: str) -> None:
    """A turn, to its end."""
    session = await host.open(REF, "echo")
    await session.submit(turn_id, session_pb2.Input(text="hi"), ON_BUSY_ENQUEUE)
    woken = asyncio.Event()
    session.log.subscribe(woken)
    while session.turn(turn_id).end_seq is None:
        woken.clear()
        await woken.wait()
    session.log.unsubscribe(woken)


async def takes_new(*_: object) -> bool:
    return True


async def test_a_first_turn_costs_one_transaction_more(
    tmp_path: Path, transactions: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    store = await open_store(f"sqlite:///{tmp_path / 'store.db'}", HERE, timeout_s=5, max_history_turns=3)
    assert store is not None
    reads: list[object] = []
    read = SqliteDriver.read

    async def counted(self: SqliteDriver, work: Callable[[Connection], T]) -> T:
        reads.append(work)
        return await read(self, work)

    monkeypatch.setattr(SqliteDriver, "read", counted)
    settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": tmp_path})
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        slots = RunSlots(100, 0)
        env, claims = environment(clock), FakeClaims().as_claims
        host = Host(env, claims, store, {"echo": echo}, clock, settings, slots, tasks, takes_new)
        costs: list[int] = []
        for number in range(3):
            transactions.clear()
            await use(host, f"t{number}")
            costs.append(len(transactions))
        host.drop_all(NodeFenced())
    assert (costs, reads) == ([3, 2, 2], [])
    await store.close()
