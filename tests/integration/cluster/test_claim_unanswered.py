"""Claims and releases whose answer is lost or never comes."""

import asyncio
from collections.abc import Sequence

import pytest

from agentring.cluster.claim import Claim, Claims
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.types import Compare, Delete, Get, Put, TxnResult
from agentring.cluster.keys import Keys
from agentring.cluster.owners import read_owner
from agentring.errors import CoordinatorUnavailable, SessionMoving
from agentring.ids import Epoch
from harness.claiming import REF, node
from harness.conditions import PATIENCE_S
from harness.etcd_faults import LossyEtcd
from harness.processes import free_port


async def test_a_claim_whose_reply_is_lost_is_put_again_by_the_next(
    etcd_url: str, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    async with LossyEtcd(etcd_url) as etcd:
        owner = await node(etcd, keys, tasks)
        etcd.lose_reply()
        with pytest.raises(CoordinatorUnavailable):
            await owner.claims.claim(REF)
        landed = await etcd.get(keys.claim(REF))
        assert landed is not None
        claim = await owner.claims.claim(REF)
        assert claim.revision > landed.mod_revision
        assert not await owner.claims.release(Claim(REF, Epoch(0), landed.mod_revision))
        assert await owner.claims.release(claim)


async def test_a_put_again_whose_reply_is_lost_is_put_again_by_the_next(
    etcd_url: str, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    async with LossyEtcd(etcd_url) as etcd:
        owner = await node(etcd, keys, tasks)
        first = await owner.claims.claim(REF)
        etcd.lose_reply(skip=1)
        with pytest.raises(CoordinatorUnavailable):
            await owner.claims.claim(REF)
        landed = await etcd.get(keys.claim(REF))
        assert landed is not None
        assert landed.mod_revision > first.revision
        claim = await owner.claims.claim(REF)
        assert claim.revision > landed.mod_revision


async def test_a_release_whose_reply_is_lost_has_happened(etcd_url: str, keys: Keys, tasks: asyncio.TaskGroup) -> None:
    async with LossyEtcd(etcd_url) as etcd:
        owner = await node(etcd, keys, tasks)
        claim = await owner.claims.claim(REF)
        etcd.lose_reply()
        with pytest.raises(CoordinatorUnavailable):
            await owner.claims.release(claim)
        assert await etcd.get(keys.claim(REF)) is None
        assert not await owner.claims.release(claim)


async def test_a_cancelled_claim_may_have_landed_and_the_next_puts_it_again(
    etcd_url: str, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    async with LossyEtcd(etcd_url) as etcd:
        owner = await node(etcd, keys, tasks)
        etcd.hold_reply()
        claiming = asyncio.create_task(owner.claims.claim(REF))
        async with asyncio.timeout(PATIENCE_S):
            await etcd.held.wait()
        claiming.cancel()
        await asyncio.wait([claiming], timeout=PATIENCE_S)
        assert claiming.cancelled()
        landed = await etcd.get(keys.claim(REF))
        assert landed is not None
        etcd.lost.set()  # what waits for as long as its group may take is not sent at all
        assert (await owner.claims.claim(REF)).revision > landed.mod_revision


async def test_a_key_that_goes_while_it_is_put_again_is_moving(
    etcd_url: str, etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    """A late release of an earlier epoch lands between the two transactions of a claim."""

    class Releasing(EtcdClient):
        async def txn(
            self,
            compares: Sequence[Compare],
            success: Sequence[Put | Delete | Get],
            failure: Sequence[Get] = (),
            *,
            timeout_s: float | None = None,
        ) -> TxnResult:
            result = await super().txn(compares, success, failure, timeout_s=timeout_s)
            if not result.succeeded and compares[0].field == "create":
                assert await owner.claims.release(first)
            return result

    async with Releasing([etcd_url]) as releasing:
        owner = await node(etcd, keys, tasks)
        first = await owner.claims.claim(REF)
        again = Claims(releasing, keys, owner.registration, tasks)
        with pytest.raises(SessionMoving):
            await again.claim(REF)
        assert (await again.claim(REF)).epoch > first.epoch


async def test_without_etcd_nothing_is_claimed_released_or_known(
    etcd: EtcdClient, keys: Keys, tasks: asyncio.TaskGroup
) -> None:
    owner = await node(etcd, keys, tasks)
    claim = await owner.claims.claim(REF)
    async with EtcdClient([f"http://127.0.0.1:{free_port()}"]) as dead:
        cut_off = Claims(dead, keys, owner.registration, tasks)
        for call in (
            cut_off.claim(REF),
            cut_off.release(claim),
            cut_off.owner(REF),
            cut_off.raise_if_held_elsewhere(REF),
            read_owner(dead, keys, 1, REF),
        ):
            with pytest.raises(CoordinatorUnavailable):
                await call
    owner.registration.lease.check()
