"""What sessions cost that are activated at the same time: one transaction of etcd's, and one of the store's."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_node.agents.echo import echo
from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.settings import NodeSettings
from agent_node.store import Store
from agent_node.store.database.group_commit import Outcome
from agent_node.store.database.sqlite import SqliteDriver
from agent_node.store.opening import open_store
from agentring.cluster.claim import Claims
from agentring.cluster.etcd.types import Put, Txn
from agentring.cluster.keys import Keys
from agentring.cluster.records import encode
from agentring.cluster.registration import Registration
from agentring.errors import NodeFenced, NotOwner
from agentring.ids import Incarnation, NodeId, SessionRef, parse_session
from agentring.v1 import cluster_pb2
from harness.clock import PATIENCE_S, FakeClock
from harness.fake_etcd import FakeEtcd
from harness.premises import environment
from harness.registrations import identity
from harness.stored_turns import HERE

KEYS = Keys("c")
REFS = [parse_session("", f"s{number}") for number in range(20)]


class CountingEtcd(FakeEtcd):
    """Answers at once, and keeps what it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, at_once=True)
        self.asked: list[str] = []

    async def ask(self, name: str, work: Callable[[], Any]) -> Any:
        self.asked.append(name)
        return await super().ask(name, work)

    def register(self, name: str) -> Incarnation:
        (put,) = self.txns([Txn((), (Put(KEYS.node(NodeId(name)), b"", 0),))])
        return Incarnation(put.revision)

    def hold(self, ref: SessionRef, name: str, incarnation: Incarnation) -> None:
        """Another node's claim."""
        record = cluster_pb2.ClaimRecord(v=1, node_id=name, address="other:1", incarnation=incarnation)
        self.txns([Txn((), (Put(KEYS.claim(ref), encode(record), 0),))])


async def takes_new(*_: object) -> bool:
    return True


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many works each of the store's transactions had."""
    sizes: list[int] = []
    commit = SqliteDriver._commit

    def counted(self: SqliteDriver, take: Any) -> list[Outcome]:
        outcomes = commit(self, take)
        sizes.append(len(outcomes))
        return outcomes

    monkeypatch.setattr(SqliteDriver, "_commit", counted)
    return sizes


async def opened(etcd: CountingEtcd, store: Store, directory: Path) -> list[object]:
    """What became of all sessions, opened in one pass of the loop."""
    clock = FakeClock()
    env = environment(clock)
    registration = Registration(etcd.client(), KEYS, identity("n1"), env.lease, etcd.register("n1"), 1)
    etcd.leases[env.lease.lease_id] = etcd.leases.pop(etcd.grant(1_000))
    settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": directory})
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        claims = Claims(etcd.client(), KEYS, registration, tasks)
        host = Host(env, claims, store, {"echo": echo}, clock, settings, RunSlots(9, 0), tasks, takes_new)
        found = await asyncio.gather(*(host.open(ref, "echo") for ref in REFS), return_exceptions=True)
        host.drop_all(NodeFenced())
    return list(found)


async def open_sqlite(directory: Path) -> Any:
    return await open_store(f"sqlite:///{directory / 'store.db'}", HERE, timeout_s=5, max_history_turns=3)


async def test_all_are_one_transaction_of_etcds_and_one_of_the_stores(tmp_path: Path, commits: list[int]) -> None:
    etcd, store = CountingEtcd(FakeClock()), await open_sqlite(tmp_path)
    commits.clear()
    found = await opened(etcd, store, tmp_path)
    await store.close()
    assert [error for error in found if isinstance(error, BaseException)] == []
    assert (etcd.asked, commits) == (["txn_of_all"], [len(REFS)])


async def test_one_that_another_node_holds_is_refused_alone(tmp_path: Path, commits: list[int]) -> None:
    """The others' compares hold, so they are claimed by the same two transactions."""
    etcd, store = CountingEtcd(FakeClock()), await open_sqlite(tmp_path)
    etcd.hold(REFS[7], "n2", etcd.register("n2"))
    commits.clear()
    found = await opened(etcd, store, tmp_path)
    await store.close()
    refused = [number for number, error in enumerate(found) if isinstance(error, BaseException)]
    assert (refused, type(found[7])) == ([7], NotOwner)
    assert etcd.asked == ["txn_of_all", "txns", "get"]
    assert commits == [len(REFS) - 1]
