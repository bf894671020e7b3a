"""What was claimed unnoticed is given up, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agentring.cluster import claim
from agentring.cluster.claim import Claims
from agentring.cluster.etcd.errors import EtcdNoSpace
from agentring.cluster.etcd.types import Put, Txn
from agentring.cluster.keys import Keys
from agentring.cluster.registration import Registration
from agentring.errors import CoordinatorUnavailable
from agentring.ids import Incarnation, NodeId, SessionRef, TaskRef, parse_session
from harness.clock import FakeClock
from harness.fake_etcd import FakeEtcd, Request
from harness.premises import lease_on
from harness.registrations import identity
from harness.tasks import own_tasks

KEYS = Keys("c")
S, T = parse_session("", "s"), parse_session("", "t")


class Node:
    """A node's claims, over an etcd behind a network that the test leads."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        clock = FakeClock()
        self.etcd = FakeEtcd(clock)
        (put,) = self.etcd.txns([Txn((), (Put(KEYS.node(NodeId("n1")), b"", 0),))])
        client = self.etcd.client()
        registration = Registration(client, KEYS, identity("n1"), lease_on(clock), Incarnation(put.revision), 1)
        self.etcd.leases[registration.lease.lease_id] = self.etcd.leases.pop(self.etcd.grant(1_000))
        self.claims = Claims(client, KEYS, registration, tasks)
        self.used: set[SessionRef | TaskRef] = set()

    async def next(self) -> Request:
        """The request that is on its way, which then is not any more."""
        for _ in range(20):
            await asyncio.sleep(0)
        (request,) = self.etcd.requests
        self.etcd.requests.clear()
        return request

    async def claim_unnoticed(self, ref: SessionRef) -> None:
        """The claim lands, and its answer is lost."""
        claiming = asyncio.ensure_future(self.claims.claim(ref))
        request = await self.next()
        request.apply()
        request.lose()
        with pytest.raises(CoordinatorUnavailable):
            await claiming

    async def sweep(self) -> int:
        self.etcd.at_once = True
        found = await self.claims.sweep(self.used.__contains__)
        self.etcd.at_once = False
        return found

    def holds(self, ref: SessionRef) -> bool:
        return KEYS.claim(ref) in self.etcd.kvs


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    async with own_tasks() as tasks:
        yield Node(tasks)


async def test_a_claim_that_landed_unnoticed_is_given_up(node: Node) -> None:
    await node.claim_unnoticed(S)
    assert node.holds(S)
    assert await node.sweep() == 1
    assert not node.holds(S)


async def test_a_claim_that_lands_after_the_first_sweep_is_given_up_by_the_second(node: Node) -> None:
    claiming = asyncio.ensure_future(node.claims.claim(S))
    late = await node.next()
    late.lose()
    with pytest.raises(CoordinatorUnavailable):
        await claiming
    assert await node.sweep() == 0
    late.apply()
    assert await node.sweep() == 1
    assert not node.holds(S)


async def test_what_is_used_or_was_never_in_doubt_is_not_given_up(node: Node) -> None:
    await node.claim_unnoticed(S)
    node.used.add(S)
    node.etcd.at_once = True
    await node.claims.claim(T)
    assert await node.sweep() == 0
    assert node.holds(S)
    assert node.holds(T)


async def test_a_release_that_etcd_refused_or_was_never_sent_is_made_up_for(node: Node) -> None:
    node.etcd.at_once = True
    claimed = await node.claims.claim(S)
    node.etcd.at_once = False
    releasing = asyncio.ensure_future(node.claims.release(claimed))
    (await node.next()).answer.set_exception(EtcdNoSpace())
    with pytest.raises(CoordinatorUnavailable):
        await releasing
    assert await node.sweep() == 1
    assert not node.holds(S)


async def test_a_key_that_is_forgotten_while_it_is_looked_at_ends_no_sweep(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "MAX_UNSURE", 1)
    await node.claim_unnoticed(S)
    sweeping = asyncio.ensure_future(node.claims.sweep(node.used.__contains__))
    look = await node.next()
    node.etcd.kvs.clear()
    look.apply()
    doubtful = asyncio.ensure_future(node.claims.claim(T))
    (await node.next()).lose()
    with pytest.raises(CoordinatorUnavailable):
        await doubtful
    look.reply()
    assert await sweeping == 0


async def test_a_record_that_cannot_be_read_is_nobodys_and_ends_no_sweep(node: Node) -> None:
    await node.claim_unnoticed(S)
    await node.claim_unnoticed(T)
    node.etcd.txns([Txn((), (Put(KEYS.claim(S), b"not ours", 0),))])
    assert await node.sweep() == 1
    assert node.holds(S)
    assert not node.holds(T)
