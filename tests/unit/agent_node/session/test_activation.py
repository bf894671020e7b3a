"""Activations that fail, or that a drain or the fence meets: no claim is left behind, no epoch raised twice."""

import asyncio
from pathlib import Path

import pytest

from agent_node.store import Ownership
from agentring.errors import (
    AgentNotFound,
    NodeDraining,
    NodeFenced,
    SessionNotFound,
    StaleEpoch,
    StoreUnavailable,
)
from agentring.ids import Epoch
from harness.hosts import OTHER, REF, HostedNode, hosting
from harness.premises import TTL_S


async def until_claimed(node: HostedNode, times: int) -> None:
    while len(node.claims.claimed) < times:  # noqa: ASYNC110  the fake says nothing
        await asyncio.sleep(0)


@pytest.mark.parametrize("fault", ["raises", "refuses", "agent removed"])
async def test_an_activation_that_fails_gives_its_claim_back(tmp_path: Path, fault: str) -> None:
    async with hosting(tmp_path) as node:
        match fault:
            case "raises":
                node.store.errors["activate"] = OSError("no store")
            case "refuses":
                node.store.errors["activate"] = StaleEpoch()
            case "agent removed":
                await node.store.memory.activate(Ownership(REF, Epoch(0), "n1/1"), "removed")
        with pytest.raises((OSError, StaleEpoch, AgentNotFound)):
            await node.host.open(REF, "held")
        assert [claim.ref for claim in node.claims.released] == [REF]
        assert len(node.host) == 0
        with pytest.raises(SessionNotFound):
            await node.host.find(REF)
        node.store.errors.clear()
        assert (await node.host.open(OTHER, "held")).claim.epoch == 2


async def test_an_activation_under_way_when_a_drain_begins_gives_its_claim_back(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        draining = asyncio.ensure_future(node.host.drain(1.0))
        await asyncio.sleep(0)
        assert not draining.done()  # nothing may be claimed once it is over
        node.claims.go.set()
        with pytest.raises(NodeDraining):
            await opening
        await draining
        assert [claim.ref for claim in node.claims.released] == [REF]
        assert len(node.host) == 0


async def test_an_activation_under_way_at_the_fence_makes_no_session(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        node.clock.advance(TTL_S)
        node.host.drop_all(NodeFenced())
        node.claims.go.set()
        with pytest.raises(NodeFenced):
            await opening
        assert (len(node.host), node.claims.released) == (0, [])


async def test_a_claim_that_took_until_after_the_fence_raises_no_epoch_in_the_store(tmp_path: Path) -> None:
    """The process was frozen while the claim's answer was on its way."""
    async with hosting(tmp_path) as node:
        node.claims.go.clear()
        opening = asyncio.ensure_future(node.host.open(REF, "held"))
        await node.claims.asked.wait()
        node.clock.advance(TTL_S)
        node.claims.go.set()
        with pytest.raises(NodeFenced):
            await opening
        assert node.store.calls == []
        assert node.claims.released == []


async def test_a_raise_of_unknown_outcome_is_followed_by_a_new_claim_and_a_fresh_epoch(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.store.errors["activate"] = StoreUnavailable()
        opening = asyncio.create_task(node.host.open(REF, "held"))
        await until_claimed(node, 2)  # the second raise has not begun
        node.store.errors.clear()
        assert (await opening).claim.epoch == 2
        assert (node.claims.claimed, node.claims.released) == ([REF, REF], [])


async def test_where_the_store_stays_away_the_caller_learns_it_and_the_claim_is_released(tmp_path: Path) -> None:
    async with hosting(tmp_path) as node:
        node.store.errors["activate"] = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            await node.host.open(REF, "held")
        assert [claim.epoch for claim in node.claims.released] == [2]
