"""What several nodes let a tenant have together, and what they leave to others."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_node.quota.quota import Held
from agent_node.quota.share import WHOLE, OwnShare, Share
from agentring.cluster.ring import Ring
from agentring.errors import QuotaExceeded
from agentring.ids import NodeId, TenantId
from harness.limited_nodes import LimitedNode, at_last, limited
from harness.memberships import node, snapshot

NAMES = ("n1", "n2", "n3", "n4")
LIMIT = 40


async def until_settled(nodes: list[LimitedNode], tasks: Sequence["asyncio.Task[object]"]) -> int:
    """How many of the calls were refused with QUOTA."""
    await asyncio.wait(tasks)
    for _ in range(10):
        await asyncio.sleep(0)
    failures = [error for task in tasks if (error := task.exception()) is not None]
    assert all(isinstance(error, QuotaExceeded) for error in failures), failures
    return len(failures)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 1_000))
async def test_the_cluster_as_a_whole_keeps_a_limit_within_a_fifth(
    tmp_path: Path, weights: list[int], seed: int
) -> None:
    """Sessions are where the ring places them, and are more than twice the limit."""
    ring = Ring(snapshot(*(node(NAMES[index], weight=weight) for index, weight in enumerate(weights))))
    owners = [NAMES.index(next(ring.candidates(f"{seed}-{number}")).node_id) for number in range(LIMIT * 3)]
    for limit, what in (("running_turns", Held.RUNNING_TURNS), ("sessions", Held.SESSIONS), ("turns_per_s", None)):
        async with limited(tmp_path, f"[tenant]\n{limit} = {LIMIT}", weights, slots=1_000) as nodes:
            calls = [asyncio.ensure_future(nodes[owner].turn(f"s{i}", "t")) for i, owner in enumerate(owners)]
            refused = await until_settled(nodes, calls)
            had = sum(each.quota.held(what, "default") for each in nodes) if what else len(calls) - refused
            assert LIMIT * 0.8 <= had <= LIMIT * 1.2, (limit, had, weights)


async def test_a_greedy_tenant_is_refused_and_the_others_turns_go_on(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenant]\nrunning_turns = 2\nwaiting_turns = 4") as (own,):
        greedy = [asyncio.ensure_future(own.turn(f"g{i}", "t", tenant="greedy")) for i in range(60)]
        assert await until_settled([own], greedy) == 54
        assert own.quota.held(Held.RUNNING_TURNS, "greedy") == 2
        session = await own.turn("o", "t", tenant="other")
        await at_last(lambda: own.quota.held(Held.RUNNING_TURNS, "other") == 1)
        assert own.refusals.by_limit == {"waiting_turns": 54}
        assert own.refusals.by_tenant == {"greedy": 54}
        own.stage.go.set()
        await at_last(lambda: not own.quota.totals()["open_turns"])
        assert session.is_idle
        assert (await own.turn("g0", "t2", tenant="greedy")).ref.tenant == TenantId("greedy")


async def test_a_turn_that_is_known_is_never_refused_and_a_refused_one_leaves_nothing(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenant]\nturns_per_s = 1") as (own,):
        await own.turn("s", "t")
        await own.turn("s", "t")
        with pytest.raises(QuotaExceeded) as refused:
            await own.turn("s", "u")
        assert refused.value.what == "turns_per_s"
        assert refused.value.wait_s == pytest.approx(1, abs=0.01)
        own.clock.advance(1.0)
        await own.turn("s", "u")
        assert own.quota.held(Held.OPEN_TURNS, "default") == 2


async def test_other_limits_count_at_once_for_those_that_wait(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenant]\nrunning_turns = 0") as (own,):
        await own.turn("s", "t")
        await own.task("k")
        assert own.quota.totals()["running_turns"] == 0
        own.limit("[tenant]\nrunning_turns = 2")
        await at_last(lambda: own.quota.totals()["running_turns"] == 2)
        own.limit("[tenant]\nrunning_turns = 1")  # takes nothing from what runs
        assert own.quota.totals()["running_turns"] == 2


async def test_a_task_is_refused_before_it_is_stored_and_joined_however_many_there_are(tmp_path: Path) -> None:
    async with limited(tmp_path, "[tenant]\ntasks = 1\n[subject]\nwaiting_turns = 0") as (own,):
        first = await own.task("a")
        with pytest.raises(QuotaExceeded) as refused:
            await own.task("b")
        assert (refused.value.what, refused.value.limit, refused.value.scope) == ("tasks", "1", "tenant")
        assert await own.task("a") is first
        await own.runs.cancel(first)
        await at_last(lambda: not own.quota.totals()["tasks"])
        await own.task("b")


def test_a_share_is_that_of_the_ring_and_follows_the_membership() -> None:
    own = OwnShare(NodeId("n2"))
    assert own.of(None) == WHOLE
    both = snapshot(node("n1"), node("n2", weight=3))
    assert own.of(both) is own.of(both)
    assert own.of(both) == Share(1, 3, 4)
    assert own.of(snapshot(node("n2", weight=3))) == Share(0, 3, 3)
    assert own.of(snapshot(node("n1"), node("n2", weight=3, active=False))) == Share(1, 3, 4)
