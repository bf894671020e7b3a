"""Claims that no node of ours wrote so: any bytes, with and without a lease, at any moment. Each key is had again, or
the caller is told why not; and nobody is robbed who is registered."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentring.cluster.claim import Claims
from agentring.cluster.etcd.types import Delete, Get, Put, Txn
from agentring.cluster.keys import Keys
from agentring.cluster.lease import Lease
from agentring.cluster.orphaned_claims import OrphanedClaims
from agentring.cluster.records import encode
from agentring.cluster.registration import Registration
from agentring.cluster.snapshot import Node as Member
from agentring.errors import AgentringError, ClaimUnreadable, NotOwner, SessionMoving
from agentring.ids import Incarnation, NodeId, SessionRef, TaskRef, parse_once, parse_session, parse_task
from agentring.v1 import cluster_pb2
from harness.clock import FakeClock
from harness.fake_etcd import FakeEtcd
from harness.registrations import identity
from harness.tasks import own_tasks

KEYS = Keys("c")
TTL_S = 10
LONG_S = 1_000_000
S = parse_session("", "s")
REFS: list[SessionRef | TaskRef] = [S, parse_task("", "a/b?c"), parse_once("", "x")]
UNREADABLE = [
    b"",
    b"\0",
    b"not json",
    b"{}",
    b"[]",
    b"null",
    b'{"v": 1}',
    b'{"v": 1, "node_id": "n1"}',
    b'{"v": 1, "node_id": "n1", "incarnation": 0}',
    b'{"v": 1, "node_id": "n1", "incarnation": -3}',
    b'{"v": 1, "node_id": "n1", "incarnation": "x"}',
    b'{"v": 1, "node_id": "n1", "incarnation": [1]}',
    b'{"v": 1, "node_id": "", "incarnation": 2}',
    b'{"v": 1, "node_id": 7, "incarnation": 2}',
    b'{"v": 1, "node_id": "\\ud800", "incarnation": 2}',
    b'{"v": "one", "node_id": "n1", "incarnation": 2}',
    b"\xff\xfe",
    b"[" * 50_000,
    json.dumps({"v": 1, "node_id": "x" * 1_000_000, "incarnation": 2}).encode(),
]


class World:
    """An etcd that answers at once, and the nodes that claim in it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.clock = FakeClock()
        self.etcd = FakeEtcd(self.clock, at_once=True)
        self.tasks = tasks
        self.members: dict[NodeId, Member] = {}
        """What the membership shows, which may be behind."""

    def node(self, name: str, *, fences: bool = True) -> "Node":
        return Node(self, name, fences=fences)

    def put(self, ref: SessionRef | TaskRef, value: bytes, lease_id: int = 0) -> None:
        self.etcd.txns([Txn((), (Put(KEYS.claim(ref), value, lease_id),))])

    def delete(self, key: str) -> None:
        self.etcd.txns([Txn((), (Delete(key),))])

    def held(self, ref: SessionRef | TaskRef) -> tuple[bytes, int] | None:
        kv = self.etcd.kvs.get(KEYS.claim(ref))
        return (kv.value, kv.lease_id) if kv is not None else None


class Node:
    """One incarnation."""

    def __init__(self, world: World, name: str, *, fences: bool) -> None:
        client, clock = world.etcd.client(), world.clock
        self.world = world
        self.name = NodeId(name)
        self.lease_id = world.etcd.grant(LONG_S)
        lease = Lease(client, clock, self.lease_id, LONG_S, clock.now_s())
        lease._ttl_s = TTL_S  # what is waited for is short beside how long the test goes on
        (put,) = world.etcd.txns([Txn((), (Put(KEYS.node(self.name), b"", self.lease_id),))])
        self.incarnation = Incarnation(put.revision)
        registration = Registration(client, KEYS, identity(name), lease, self.incarnation, 1)
        self.orphaned = OrphanedClaims(client, KEYS, clock, registered=world.members.get, store_fences=fences)
        self.claims = Claims(client, KEYS, registration, world.tasks, orphaned=self.orphaned)

    def record(self, *, incarnation: int | None = None, address: str = "elsewhere:1") -> bytes:
        """A claim of it, as it or somebody else would write it."""
        return encode(
            cluster_pb2.ClaimRecord(
                v=1, node_id=self.name, address=address, incarnation=incarnation or self.incarnation
            )
        )

    def ends(self) -> None:
        """Its lease does."""
        self.world.etcd.revoke(self.lease_id)

    async def refused(self, ref: SessionRef | TaskRef) -> AgentringError | None:
        """What it is told when it claims; None: it has it now."""
        try:
            await self.claims.claim(ref)
        except AgentringError as error:
            return error
        return None


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with own_tasks() as tasks:
        yield World(tasks)


@pytest.mark.parametrize("ref", REFS)
async def test_a_claim_without_a_lease_whose_node_is_gone_is_taken(world: World, ref: SessionRef | TaskRef) -> None:
    dead, alive = world.node("gone"), world.node("alive")
    before = await dead.claims.claim(ref)
    value, _ = world.held(ref) or (b"", 0)
    world.put(ref, value)  # `etcdctl put` without --lease: the key leaves its lease
    dead.ends()
    await alive.claims.raise_if_held_elsewhere(ref)
    after = await alive.claims.claim(ref)
    assert after.epoch > before.epoch
    assert (world.held(ref) or (b"", 0))[1] == alive.lease_id
    assert alive.orphaned.taken == {"owner_gone": 1}


async def test_a_claim_without_a_lease_of_an_earlier_incarnation_is_taken(world: World) -> None:
    first = world.node("n1")
    world.put(S, first.record())
    first.ends()
    again, other = world.node("n1"), world.node("n2")
    assert await again.refused(S) is None
    assert isinstance(await other.refused(S), NotOwner)


@pytest.mark.parametrize("stale", [False, True])
async def test_a_registered_nodes_claim_is_its_own_with_and_without_a_lease(world: World, stale: bool) -> None:
    """The one that is asked knows whether it has the session; nobody else takes it, however long it stands so."""
    owner, other = world.node("n1"), world.node("n2")
    if not stale:
        world.members[owner.name] = Member(owner.name, "n1:1", frozenset(), 1, {}, True, owner.incarnation)
    world.put(S, owner.record())
    for _ in range(3):
        refused = await other.refused(S)
        assert isinstance(refused, NotOwner)
        assert (refused.node, refused.address) == ("n1", "elsewhere:1" if stale else "n1:1")
        world.clock.advance(2 * TTL_S)
    await owner.claims.disclaim(S, lambda _: False)  # asked, and it has no such session
    assert await other.refused(S) is None


@pytest.mark.parametrize("value", UNREADABLE, ids=lambda value: repr(value[:40]))
async def test_a_record_that_cannot_be_read_is_taken(world: World, value: bytes) -> None:
    node = world.node("n1")
    world.put(S, value)
    await node.claims.raise_if_held_elsewhere(S)
    assert await node.refused(S) is None
    assert node.orphaned.found == node.orphaned.taken == {"unreadable": 1}


@pytest.mark.parametrize(
    ("write", "received"), [(lambda dead: b"?", ClaimUnreadable), (lambda dead: dead.record(), SessionMoving)]
)
async def test_one_on_a_lease_is_taken_after_it_has_stood_for_a_ttl(
    world: World, write: Callable[[Node], bytes], received: type[AgentringError]
) -> None:
    dead, node = world.node("gone"), world.node("n1")
    operators = world.etcd.grant(LONG_S)
    dead.ends()
    world.put(S, write(dead), operators)
    assert isinstance(await node.refused(S), received)
    world.clock.advance(TTL_S - 1)
    assert isinstance(await node.refused(S), received)
    world.put(S, write(dead), operators)  # it is written again, so somebody may still be there
    world.clock.advance(2)
    assert isinstance(await node.refused(S), received)
    world.clock.advance(TTL_S)
    assert await node.refused(S) is None


async def test_without_a_store_that_fences_only_what_is_surely_nobodys_is_taken(world: World) -> None:
    dead, node = world.node("gone"), world.node("n1", fences=False)
    operators = world.etcd.grant(LONG_S)
    dead.ends()
    refs = [parse_session("", name) for name in ("unreadable", "unreadable-leased", "gone", "gone-leased")]
    for ref, value, lease_id in zip(refs, (b"?", b"?", dead.record(), dead.record()), (0, operators) * 2, strict=True):
        world.put(ref, value, lease_id)
    received = [await node.refused(ref) for ref in refs]
    assert [type(each) for each in received] == [ClaimUnreadable, ClaimUnreadable, SessionMoving, SessionMoving]
    world.clock.advance(TTL_S)
    received = [await node.refused(ref) for ref in refs]
    assert [type(each) for each in received] == [ClaimUnreadable, ClaimUnreadable, type(None), SessionMoving]


async def test_a_node_that_registers_between_look_and_taking_is_not_robbed(world: World) -> None:
    late, node = world.node("late"), world.node("n1")
    record = late.record(incarnation=world.etcd.revision + 3)
    late.ends()
    world.put(S, record)
    world.etcd.at_once = False
    claiming = asyncio.ensure_future(node.refused(S))
    for name in ("txn", "get"):
        await _until_one(world)
        (request,) = world.etcd.requests
        assert request.name == name
        request.apply()
        request.reply()
        world.etcd.requests.clear()
    world.etcd.txns([Txn((), (Put(KEYS.node(NodeId("late")), b"", world.etcd.grant(LONG_S)),))])
    world.etcd.at_once = True
    assert isinstance(await claiming, SessionMoving)
    assert (world.held(S) or (b"", 0))[0] == record
    node.claims._registration.lease.check()  # it is not the node's own key that was not as compared
    assert isinstance(await node.refused(S), NotOwner)


async def _until_one(world: World) -> None:
    for _ in range(50):
        if world.etcd.requests:
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing was asked")


_NAMES = st.sampled_from(["v", "node_id", "address", "incarnation", "claim_time", "x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["n1", "n2", "gone", 1, 2]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=3), inner, max_size=6),
    max_leaves=12,
)
_VALUES = (
    st.binary(max_size=200)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {
            "v": st.integers(0, 3),
            "node_id": st.sampled_from(["n1", "n2", "gone", ""]),
            "incarnation": st.integers(-1, 9),
        }
    ).map(lambda value: json.dumps(value).encode())
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    value=_VALUES,
    ref=st.sampled_from(REFS),
    lease=st.sampled_from(["none", "own", "other's", "foreign"]),
    owned=st.booleans(),
    fences=st.booleans(),
)
def test_whatever_is_written_the_key_is_had_again_or_its_caller_is_told_why_not(
    value: bytes, ref: SessionRef | TaskRef, lease: str, owned: bool, fences: bool
) -> None:
    async def play() -> None:
        async with own_tasks() as tasks:
            world = World(tasks)
            dead, one, two = (world.node(name, fences=fences) for name in ("gone", "n1", "n2"))
            epoch = (await one.claims.claim(ref)).epoch if owned else 0
            dead.ends()
            world.put(
                ref,
                value,
                {"none": 0, "own": one.lease_id, "other's": two.lease_id}.get(lease, world.etcd.grant(LONG_S)),
            )
            received: list[AgentringError | None] = []
            for node in (two, one, two):  # two sweeps, each node asked as it is led
                received.append(await node.refused(ref))
                await node.claims.sweep(lambda _: False)
                world.clock.advance(TTL_S)
            for each in received:
                assert each is None or isinstance(each, NotOwner | SessionMoving | ClaimUnreadable)
            if fences or lease == "none":
                assert None in received or isinstance(received[-1], ClaimUnreadable)
            (kv,) = (await world.etcd.client().txn([], [Get(KEYS.claim(ref))])).gets
            assert kv is not None
            if None in received:
                assert kv.mod_revision > epoch & ((1 << 40) - 1)

    asyncio.run(play())
