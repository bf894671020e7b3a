"""Many claims and releases at the same time: whole groups in one transaction, and what becomes of one that loses."""

import asyncio

from agentring.cluster.claim import Claim, Claims
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.group_commit import MAX_GROUP
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason
from agentring.errors import NodeFenced, NotOwner
from agentring.ids import parse_session
from harness.registrations import delete_node, joined

REFS = [parse_session("tenant", f"s{index}") for index in range(3 * MAX_GROUP)]


async def claims_of(etcd: EtcdClient, keys: Keys, name: str, tasks: asyncio.TaskGroup) -> Claims:
    return Claims(etcd, keys, await joined(etcd, keys, name), tasks)


async def test_full_groups_are_claimed_released_and_claimed_again_under_higher_epochs(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    first, second = await claims_of(etcd, keys, "n1", tasks), await claims_of(etcd, keys, "n2", tasks)
    before = await asyncio.gather(*(first.claim(ref) for ref in REFS))
    held = await etcd.range(keys.sessions)
    assert {kv.key: kv.mod_revision for kv in held.kvs} == {keys.claim(claim.ref): claim.revision for claim in before}
    assert len({claim.revision for claim in before}) == 3  # each full group went as one
    assert await asyncio.gather(*(first.release(claim) for claim in before)) == [True] * len(REFS)
    assert await etcd.count(keys.sessions) == 0
    after = await asyncio.gather(*(second.claim(ref) for ref in REFS))
    assert min(claim.epoch for claim in after) > max(claim.epoch for claim in before)


async def test_what_others_hold_is_refused_and_the_rest_of_its_group_is_claimed(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    other, one = await claims_of(etcd, keys, "n1", tasks), await claims_of(etcd, keys, "n2", tasks)
    theirs = {ref: await other.claim(ref) for ref in REFS[::50]}
    found = await asyncio.gather(*(one.claim(ref) for ref in REFS), return_exceptions=True)
    for ref, each in zip(REFS, found, strict=True):
        if ref in theirs:
            assert isinstance(each, NotOwner)
            assert (each.node, each.epoch) == ("n1", theirs[ref].epoch)
        else:
            assert isinstance(each, Claim)
    ours = [each for each in found if isinstance(each, Claim)]
    assert await asyncio.gather(*(one.release(claim) for claim in ours)) == [True] * len(ours)
    assert await etcd.count(keys.sessions) == len(theirs)


async def test_ones_own_among_many_are_put_again(etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup) -> None:
    one = await claims_of(etcd, keys, "n1", tasks)
    before = await asyncio.gather(*(one.claim(ref) for ref in REFS[::2]))
    after = {claim.ref: claim for claim in await asyncio.gather(*(one.claim(ref) for ref in REFS))}
    assert all(after[claim.ref].epoch > claim.epoch for claim in before)
    assert await asyncio.gather(*(one.release(claim) for claim in before)) == [False] * len(before)
    assert await etcd.count(keys.sessions) == len(REFS)


async def test_no_group_of_a_node_whose_key_is_gone_writes_anything(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    registration = await joined(etcd, keys, "n1")
    lone = Claims(etcd, keys, registration, tasks)
    await delete_node(etcd, keys, "n1")
    found = await asyncio.gather(*(lone.claim(ref) for ref in REFS), return_exceptions=True)
    assert all(isinstance(each, NodeFenced) for each in found)
    assert registration.lease.reason is FenceReason.KEY_GONE
    assert await etcd.count(keys.sessions) == 0
