"""etcd's access control: what a node's user and a router's may do, and what they may not, by whatever way."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio
from aetcd import rpc

from agentring.certificates.authority import make_authority
from agentring.cluster import halts
from agentring.cluster.access import node_user, router_user
from agentring.cluster.claim import Claims
from agentring.cluster.clock import BootClock
from agentring.cluster.condition import ConditionBoard
from agentring.cluster.coordinator import CoordinatorProbe
from agentring.cluster.etcd.access_control import connected
from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdLoginFailed, EtcdPermissionDenied, EtcdTokenRefused, EtcdUnavailable
from agentring.cluster.etcd.login import EtcdLogin
from agentring.cluster.etcd.types import Compare, Delete, Put, Txn
from agentring.cluster.halts import Halt, HaltScope
from agentring.cluster.history import ClusterHistory
from agentring.cluster.keys import Keys
from agentring.cluster.known_agents import announce_once
from agentring.cluster.records import encode
from agentring.cluster.store_record import (
    StoreDiffers,
    StoreIdentity,
    StoreNotPrepared,
    change_record,
    find_record,
    prepare,
)
from agentring.ids import NodeId, parse_session
from agentring.v1.cluster_pb2 import StoreRecord
from agentring.v1.halt_pb2 import HALT_KIND_ALL
from harness.guarded_etcd import GuardedEtcd
from harness.registrations import identity, joined

PATIENCE_S = 20.0
NODES = [NodeId("a"), NodeId("b")]


@pytest.fixture(scope="module")
def etcd_of_all() -> Iterator[GuardedEtcd]:
    with TemporaryDirectory(prefix="agentring-guarded-") as directory:
        found = GuardedEtcd(Path(directory), asks_certificates=True)
        try:
            yield found
        finally:
            found.stop()


@pytest_asyncio.fixture
async def guarded(etcd_of_all: GuardedEtcd, keys: Keys) -> GuardedEtcd:
    assert await etcd_of_all.init(keys, NODES)
    assert await etcd_of_all.init(keys, NODES) == []
    async with etcd_of_all.client("root") as root:
        assert await prepare(root, keys, StoreIdentity("one"))
        assert not await prepare(root, keys, StoreIdentity("one"))
        assert not await prepare(root, keys, None)
        with pytest.raises(StoreDiffers):
            await prepare(root, keys, StoreIdentity("two"))
    return etcd_of_all


def _at_seven(record: StoreRecord) -> bool:
    record.clock_ns = 7
    return True


def _is_back(record: StoreRecord) -> bool:
    record.replaced = False
    return True


async def test_a_node_and_a_router_do_all_their_work(guarded: GuardedEtcd, keys: Keys) -> None:
    for user in (router_user(keys), node_user(keys, NODES[0])):
        async with connected([guarded.url], guarded.tls, guarded.login(user), PATIENCE_S) as etcd:
            await ClusterHistory(etcd, keys).begin()
            assert await CoordinatorProbe(etcd, keys, BootClock(), ConditionBoard()).probe() is None
            assert (await etcd.range(keys.nodes)).kvs == ()
    halt = Halt(HaltScope(HALT_KIND_ALL), "h1", hold=False, by="", since_ns=1)
    async with guarded.client(router_user(keys)) as etcd:
        await halts.write(etcd, keys, halt)
        assert list(halts.decoded((await etcd.range(keys.halts)).kvs).values()) == [halt]
        assert await halts.remove(etcd, keys, halt.scope)
    async with guarded.client(node_user(keys, NODES[0])) as etcd, asyncio.TaskGroup() as tasks:
        with pytest.raises(StoreNotPrepared):
            await joined(etcd, keys, identity("a", store_uuid="one", store_file="1:1"))
        node = await joined(etcd, keys, identity("a", store_uuid="one"))
        await announce_once(etcd, keys, ["echo"])
        await change_record(etcd, keys, "one", _at_seven)
        record, _ = await find_record(etcd, keys)
        assert record is not None
        assert record.clock_ns == 7
        async with guarded.client("root") as earlier:  # a node of an earlier release, which knows `store` alone
            record.replaced = True
            assert (await earlier.txn([], [Put(keys.store, encode(record), 0)])).succeeded
            found, _ = await find_record(etcd, keys)
            assert found == record
            await change_record(etcd, keys, "one", _is_back)
            found, _ = await find_record(etcd, keys)
            assert found is not None
            assert (found.replaced, found.clock_ns) == (False, 7)
        claims = Claims(etcd, keys, node, tasks)
        refs = [parse_session("t", f"s{number}") for number in range(20)]
        held = await asyncio.gather(*(claims.claim(ref) for ref in refs))
        assert all(await asyncio.gather(*(claims.release(claim) for claim in held)))
        assert await etcd.keep_alive(node.lease.lease_id, timeout_s=2.0) > 0
        await node.set_draining()
        await node.lease.revoke()


async def test_nothing_else_is_let_through(guarded: GuardedEtcd, keys: Keys) -> None:
    async with guarded.client(node_user(keys, NODES[0])) as thief, guarded.client(node_user(keys, NODES[1])) as other:
        node = await joined(other, keys, identity("b", store_uuid="one"))
        mine, theirs = keys.claim(parse_session("t", "s")), keys.node(NODES[1])
        never = Compare(keys.meta, "create", -1)

        async def watched(prefix: str) -> None:
            async for _ in thief.watch(prefix, (await thief.range(keys.nodes)).revision):
                raise AssertionError("a watch was let through")

        async def unlimited() -> None:
            """From our own keys to the end of all keys."""
            request = rpc.RangeRequest(key=keys.root.encode(), range_end=b"\0")
            await thief.call(lambda channel: rpc.KVStub(channel).Range, request)

        tries: dict[str, Callable[[], Awaitable[object]]] = {
            "a halt": lambda: thief.txn([], [Put(keys.halt("all"), b"x", 0)]),
            "another's record": lambda: thief.txn([], [Put(theirs, b"x", 0)]),
            "deleting it": lambda: thief.txn([], [Delete(theirs)]),
            "a branch that is not taken": lambda: thief.txn([never], [Put(theirs, b"x", 0)]),
            "nested": lambda: thief.txns([Txn((), (Put(theirs, b"x", 0),)), Txn((), (Put(mine, b"x", 0),))]),
            "nested, not taken": lambda: thief.txns([Txn((never,), (Put(keys.meta, b"x", 0),)), Txn((), ())]),
            "a node that nobody made": lambda: thief.txn([], [Put(keys.node(NodeId("c")), b"x", 0)]),
            "a node whose id begins alike": lambda: thief.txn([], [Put(keys.node(NodeId("aa")), b"x", 0)]),
            "meta": lambda: thief.txn([], [Put(keys.meta, b"x", 0)]),
            "store": lambda: thief.txn([], [Put(keys.store, b"x", 0)]),
            "another's lease": lambda: thief.txn([], [Put(mine, b"x", node.lease.lease_id)]),
            "another's lease, nested": lambda: thief.txns(
                [Txn((), (Put(mine, b"x", node.lease.lease_id),)), Txn((), ())]
            ),
            "ending another's lease": lambda: thief.revoke(node.lease.lease_id),
            "another cluster": lambda: thief.get(Keys("guarded2").meta),
            "writing there": lambda: thief.txn([], [Put(Keys("guarded2").claim(parse_session("", "s")), b"x", 0)]),
            "a watch elsewhere": lambda: watched("/agentring/"),
            "a read without an end": unlimited,
            "users": lambda: thief.call(lambda channel: rpc.AuthStub(channel).UserList, rpc.AuthUserListRequest()),
        }
        for what, attempt in tries.items():
            (outcome,) = await asyncio.gather(attempt(), return_exceptions=True)
            assert isinstance(outcome, EtcdPermissionDenied), what
        async with guarded.client(router_user(keys)) as router:
            for key in (mine, keys.meta, keys.store, keys.store_mark, theirs, keys.agent("echo")):
                with pytest.raises(EtcdPermissionDenied):
                    await router.txn([], [Put(key, b"x", 0)])
        assert (await other.get(theirs)) is not None


async def test_a_token_that_is_not_taken_is_renewed_and_nobody_else_gets_in(
    guarded: GuardedEtcd, keys: Keys, tmp_path: Path
) -> None:
    user = node_user(keys, NODES[0])
    login = guarded.login(user)
    async with EtcdClient([guarded.url], tls=guarded.tls, login=login, timeout_s=PATIENCE_S) as etcd:
        await etcd.get(keys.meta)
        login._token = "forged.1"
        assert all(await asyncio.gather(*(etcd.get(keys.meta) for _ in range(20))))
        login._token = "forged.2"
        assert (await etcd.txn([], [Put(keys.claim(parse_session("", "s")), b"", 0)])).succeeded
        written = await etcd.get(keys.claim(parse_session("", "s")))
        assert written is not None
        login._token = "forged.3"
        with pytest.raises(EtcdTokenRefused):
            await anext(etcd.watch(keys.sessions, written.mod_revision))
        assert [kv.key for kv in (await anext(etcd.watch(keys.sessions, written.mod_revision))).puts] == [written.key]
    async with EtcdClient([guarded.url], tls=guarded.tls, timeout_s=PATIENCE_S) as nobody:
        with pytest.raises(EtcdPermissionDenied, match="agentring admin init"):
            await nobody.get(keys.meta)
    login = guarded.login(user)
    login._token = ""  # from when etcd checked nobody
    async with EtcdClient([guarded.url], tls=guarded.tls, login=login, timeout_s=PATIENCE_S) as etcd:
        assert await etcd.get(keys.meta) is not None
        login._token = ""
        with pytest.raises(EtcdTokenRefused):
            await anext(etcd.watch(keys.sessions, written.mod_revision))
        assert "token" not in repr(login)
        assert await etcd.get(keys.meta) is not None
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password")
    async with EtcdClient([guarded.url], tls=guarded.tls, login=EtcdLogin(user, wrong), timeout_s=PATIENCE_S) as etcd:
        for _ in range(2):
            with pytest.raises(EtcdLoginFailed) as failed:
                await etcd.get(keys.meta)
        assert "not the password" not in f"{failed.value} {failed.value!r}"
        wrong.unlink()
        etcd._endpoints[0]._login._failed = None  # type: ignore[union-attr]
        with pytest.raises(EtcdLoginFailed, match="cannot be read"):
            await etcd.get(keys.meta)


async def test_a_certificate_says_who_calls(guarded: GuardedEtcd, keys: Keys) -> None:
    user = node_user(keys, NODES[0])
    async with connected([guarded.url], guarded.tls_of(user), None, PATIENCE_S) as etcd:
        await etcd.get(keys.meta)
        assert (await etcd.txn([], [Put(keys.claim(parse_session("", "s")), b"", 0)])).succeeded
        with pytest.raises(EtcdPermissionDenied):
            await etcd.txn([], [Put(keys.node(NODES[1]), b"", 0)])
    other = make_authority("other", timedelta(days=1))
    for tls in (EtcdTls(guarded.ca.read_bytes()), EtcdTls(other.certificate)):  # without one, and another's etcd
        async with EtcdClient([guarded.url], tls=tls, login=guarded.login(user), timeout_s=0.5) as nobody:
            with pytest.raises(EtcdUnavailable):
                await nobody.get(keys.meta)
