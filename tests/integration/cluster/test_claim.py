"""Who owns a key: exactly one incarnation at any revision, each time under an epoch of its own."""

import asyncio
from contextlib import aclosing

import pytest

from agentring.cluster.claim import Claim
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Put
from agentring.cluster.keys import Keys
from agentring.cluster.lease import FenceReason
from agentring.cluster.owners import GENERATION_BITS, Owner, epoch_of, read_owner
from agentring.cluster.records import decode_claim, encode
from agentring.errors import AgentringError, NodeFenced, NotOwner, SessionMoving
from agentring.ids import NodeId, Revision, SessionRef, TaskRef, parse_session, parse_task
from agentring.v1 import cluster_pb2
from harness.claiming import REF, Node, node, not_owner
from harness.clock import FakeClock
from harness.conditions import PATIENCE_S
from harness.registrations import TTL_S, delete_node, joined


def test_an_epoch_is_the_revision_within_its_generation() -> None:
    assert epoch_of(0, Revision(7)) == 7
    assert epoch_of(1, Revision(7)) == (1 << GENERATION_BITS) + 7
    assert epoch_of(2, Revision(1)) > epoch_of(1, Revision((1 << GENERATION_BITS) - 1))


@pytest.mark.parametrize("ref", [REF, parse_task("tenant", "a/b?c")])
async def test_a_claim_is_a_record_under_the_nodes_lease(
    etcd: EtcdClient, keys: Keys, ref: SessionRef | TaskRef, tasks: asyncio.TaskGroup
) -> None:
    owner = await node(etcd, keys, tasks)
    claim = await owner.claims.claim(ref)
    held = await etcd.get(keys.claim(ref))
    assert held is not None
    assert held.lease_id == owner.lease
    assert claim == Claim(ref, epoch_of(1, held.mod_revision), held.mod_revision)
    record = decode_claim(held.value)
    assert record.HasField("claim_time")
    record.ClearField("claim_time")
    assert record == cluster_pb2.ClaimRecord(
        v=1, node_id="n1", address="n1:1", incarnation=owner.registration.incarnation
    )
    assert await owner.claims.owner(ref) == Owner(NodeId("n1"), "n1:1", owner.registration.incarnation, claim.epoch)


async def test_nobody_owns_what_nobody_claimed(etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup) -> None:
    someone = await node(etcd, keys, tasks)
    assert await someone.claims.owner(REF) is None
    await someone.claims.raise_if_held_elsewhere(REF)


async def test_sessions_and_tasks_tenants_and_clusters_are_kept_apart(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    one, other = await node(etcd, keys, tasks, "n1"), await node(etcd, keys, tasks, "n2")
    elsewhere = await node(etcd, Keys(keys.cluster + "-other"), tasks, "n1")
    await one.claims.claim(parse_session("t", "x"))
    await other.claims.claim(parse_task("t", "x"))
    await other.claims.claim(parse_session("u", "x"))
    await elsewhere.claims.claim(parse_session("t", "x"))


async def test_another_nodes_key_is_refused_with_its_owner(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    owner, other = await node(etcd, keys, tasks, "n1"), await node(etcd, keys, tasks, "n2")
    claim = await owner.claims.claim(REF)
    for attempt in (other.claims.claim, other.claims.raise_if_held_elsewhere):
        with pytest.raises(NotOwner) as refused:
            await attempt(REF)
        assert not_owner(refused.value) == ("n1", "n1:1", claim.epoch)
    assert await other.claims.owner(REF) == await owner.claims.owner(REF)
    assert await read_owner(etcd, keys, 1, REF) == await owner.claims.owner(REF)
    await owner.claims.raise_if_held_elsewhere(REF)


async def test_epochs_only_grow(etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup) -> None:
    nodes = [await node(etcd, keys, tasks, f"n{i}") for i in range(3)]
    epochs = []
    for turn in range(9):
        claim = await nodes[turn % 3].claims.claim(REF)
        epochs.append(claim.epoch)
        assert await nodes[turn % 3].claims.release(claim)
    assert epochs == sorted(set(epochs))


async def test_a_released_key_is_anybodys(etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup) -> None:
    first, second = await node(etcd, keys, tasks, "n1"), await node(etcd, keys, tasks, "n2")
    assert await first.claims.release(await first.claims.claim(REF))
    assert await etcd.get(keys.claim(REF)) is None
    await second.claims.claim(REF)


async def test_a_key_of_an_earlier_incarnation_of_the_same_node_is_moving(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    """Its lease must run out first: nobody may take over what the earlier incarnation could still be writing."""
    earlier = await node(etcd, keys, tasks)
    claim = await earlier.claims.claim(REF)
    await delete_node(etcd, keys, "n1")
    later = await node(etcd, keys, tasks)
    for attempt in (later.claims.claim, later.claims.raise_if_held_elsewhere):
        with pytest.raises(SessionMoving):
            await attempt(REF)
    assert await later.claims.owner(REF) == Owner(NodeId("n1"), "n1:1", earlier.registration.incarnation, claim.epoch)
    await etcd.revoke(earlier.lease)
    assert (await later.claims.claim(REF)).epoch > claim.epoch


async def test_a_key_that_is_ones_own_is_put_again_under_a_fresh_epoch(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    owner, other = await node(etcd, keys, tasks, "n1"), await node(etcd, keys, tasks, "n2")
    first = await owner.claims.claim(REF)
    second = await owner.claims.claim(REF)
    assert second.epoch > first.epoch
    assert not await owner.claims.release(first)
    with pytest.raises(NotOwner) as refused:
        await other.claims.claim(REF)
    assert not_owner(refused.value) == ("n1", "n1:1", second.epoch)
    assert await owner.claims.release(second)
    assert not await owner.claims.release(second)


async def test_a_release_deletes_only_the_revision_that_it_is_of(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    first, second = await node(etcd, keys, tasks, "n1"), await node(etcd, keys, tasks, "n2")
    old = await first.claims.claim(REF)
    await first.claims.release(old)
    new = await second.claims.claim(REF)
    assert not await first.claims.release(old)
    owner = await first.claims.owner(REF)
    assert owner is not None
    assert (owner.node_id, owner.epoch) == ("n2", new.epoch)


async def test_a_node_whose_key_is_gone_claims_nothing_and_is_fenced(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    lone = await node(etcd, keys, tasks)
    await delete_node(etcd, keys, "n1")
    with pytest.raises(NodeFenced):
        await lone.claims.claim(REF)
    assert lone.registration.lease.reason is FenceReason.KEY_GONE
    assert await etcd.get(keys.claim(REF)) is None


async def test_a_node_whose_key_is_gone_does_not_put_its_own_again(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    lone = await node(etcd, keys, tasks)
    claim = await lone.claims.claim(REF)
    await delete_node(etcd, keys, "n1")
    with pytest.raises(NodeFenced):
        await lone.claims.claim(REF)
    held = await etcd.get(keys.claim(REF))
    assert held is not None
    assert held.mod_revision == claim.revision


async def test_an_incarnation_that_was_replaced_claims_nothing_and_is_fenced(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    earlier = await node(etcd, keys, tasks)
    await delete_node(etcd, keys, "n1")
    later = await node(etcd, keys, tasks)
    with pytest.raises(NodeFenced):
        await earlier.claims.claim(REF)
    assert earlier.registration.lease.reason is FenceReason.KEY_GONE
    await later.claims.claim(REF)


async def test_a_node_whose_lease_was_revoked_claims_nothing_and_is_fenced(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    lone = await node(etcd, keys, tasks)
    await etcd.revoke(lone.lease)
    with pytest.raises(NodeFenced):
        await lone.claims.claim(REF)
    assert lone.registration.lease.reason is FenceReason.KEY_GONE


async def test_a_node_past_its_fence_time_does_not_even_ask(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    clock = FakeClock()
    late = Node(etcd, keys, await joined(etcd, keys, "n1", clock=clock), tasks)
    clock.advance(TTL_S)
    with pytest.raises(NodeFenced):
        await late.claims.claim(REF)
    assert await etcd.get(keys.claim(REF)) is None


async def test_the_end_of_a_lease_frees_the_node_and_all_its_keys_at_one_revision(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    """Nobody renews it."""
    gone = Node(etcd, keys, await joined(etcd, keys, "gone", ttl_s=2), tasks)
    stays = await node(etcd, keys, tasks, "stays")
    refs = [parse_session("", f"s{i}") for i in range(20)]
    claims = await asyncio.gather(*(gone.claims.claim(ref) for ref in refs))
    watch = etcd.watch(keys.root, Revision(max(claim.revision for claim in claims) + 1))
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        batch = await anext(watch)
    assert set(batch.deletes) == {gone.registration.key, *(keys.claim(ref) for ref in refs)}
    taken = await asyncio.gather(*(stays.claims.claim(ref) for ref in refs))
    assert min(claim.epoch for claim in taken) > max(claim.epoch for claim in claims)


async def test_of_five_nodes_that_claim_one_key_fifty_times_one_owns_it(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    nodes = [await node(etcd, keys, tasks, f"n{i}") for i in range(5)]

    async def attempt(of: Node) -> Claim | AgentringError:
        try:
            return await of.claims.claim(REF)
        except AgentringError as error:
            return error

    for round_number in range(10):
        ref_results = await asyncio.gather(*(attempt(nodes[i % 5]) for i in range(50)))
        by_node = [ref_results[i::5] for i in range(5)]
        (winner,) = [i for i in range(5) if any(isinstance(each, Claim) for each in by_node[i])]
        for i in range(5):
            for each in by_node[i]:
                if i == winner:
                    # Its own attempts overtake each other; the one that loses may simply try again.
                    assert isinstance(each, Claim | SessionMoving)
                else:
                    assert isinstance(each, NotOwner)
                    assert each.node == f"n{winner}"
        won = [each for each in by_node[winner] if isinstance(each, Claim)]
        assert len({claim.epoch for claim in won}) == len(won), round_number
        newest = max(won, key=lambda claim: claim.epoch)
        assert [await nodes[winner].claims.release(claim) for claim in won if claim is not newest] == [False] * (
            len(won) - 1
        )
        assert await nodes[winner].claims.release(newest)


async def test_a_later_generation_has_higher_epochs(etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup) -> None:
    await etcd.txn([], [Put(keys.meta, encode(cluster_pb2.ClusterMeta(v=1, generation=2, cluster_uuid="u")), 0)])
    owner, other = await node(etcd, keys, tasks, "n1"), await node(etcd, keys, tasks, "n2")
    claim = await owner.claims.claim(REF)
    assert claim.epoch == (2 << GENERATION_BITS) + claim.revision
    with pytest.raises(NotOwner) as refused:
        await other.claims.claim(REF)
    assert refused.value.epoch == claim.epoch
