"""Steps that run once, while etcd, the store or the node's limits are in the way: no key is stuck, none runs twice."""

import asyncio
from typing import Any

import pytest

from agentring.agent import OnceUnknown
from agentring.cluster.claim import Claim
from agentring.errors import CoordinatorUnavailable, NodeOverloaded, StoreUnavailable
from agentring.ids import parse_once
from harness.once import OnceNode, Step, once_cluster, settled

KEY = parse_once("", "key")


def claims_fail(monkeypatch: pytest.MonkeyPatch, node: OnceNode, *outcomes: Exception | None) -> None:
    """The node's next claims fail so; None: does not fail."""
    left, claim = list(outcomes), node.claims.claim

    async def failing(ref: Any) -> Claim:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return await claim(ref)

    monkeypatch.setattr(node.claims, "claim", failing)


async def test_a_run_that_was_not_begun_stays_so_though_etcd_is_away_when_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with once_cluster() as cluster:
        cluster.store.changes_fail = [StoreUnavailable()]
        claims_fail(monkeypatch, cluster.n1, None, CoordinatorUnavailable())
        step = Step()
        step.go.set()
        assert await cluster.n1.call("key", step, idempotent=False) == "done"
        assert (len(step.calls), (await cluster.stored("key")).attempt) == (1, 1)


async def test_with_a_volatile_store_a_resolution_that_fails_leaves_the_run_unknown_on_every_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with once_cluster(durable=False) as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step, idempotent=False)
        await step.begun.wait()
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        claims_fail(monkeypatch, cluster.n1, CoordinatorUnavailable())
        with pytest.raises(CoordinatorUnavailable):
            await cluster.n1.keys.resolve(KEY, None)
        step.go.set()
        for node in (cluster.n1, cluster.n2):
            with pytest.raises(OnceUnknown):
                await node.call("key", step, timeout_s=0.5)
        assert len(step.calls) == 1


async def test_a_store_that_fails_in_a_way_nobody_knows_leaves_no_key_held() -> None:
    async with once_cluster() as cluster:
        cluster.store.ends_fail = [RuntimeError("of a driver")]
        step = Step()
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        waiting = cluster.n2.begin("key", step, timeout_s=1.0)
        await settled()
        step.go.set()
        with pytest.raises(RuntimeError):
            await holder
        assert not cluster.is_held("key")
        assert await waiting == "done"  # it had landed
        assert len(step.calls) == 1


async def test_what_refuses_the_caller_that_looks_refuses_all_that_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with once_cluster(max_keys=1) as cluster:
        step = Step()
        holder = cluster.n1.begin("one", step)
        await step.begun.wait()
        reads, read = [], cluster.store.read

        async def counted(ref: Any) -> Any:
            reads.append(ref)
            await asyncio.sleep(0)
            return await read(ref)

        monkeypatch.setattr(cluster.store, "read", counted)
        calls = [cluster.n1.begin("hot", step) for _ in range(200)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {NodeOverloaded}
        assert len(reads) == 1
        step.go.set()
        assert await holder == "done"


async def test_keys_asked_for_at_one_moment_keep_to_the_limit() -> None:
    async with once_cluster(max_keys=2) as cluster:
        steps = [Step() for _ in range(10)]
        calls = [cluster.n1.begin(f"key-{i}", step) for i, step in enumerate(steps)]
        await settled()
        assert sum(len(step.calls) for step in steps) == 2
        for step in steps:
            step.go.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes.count("done") == 2
        assert sum(isinstance(outcome, NodeOverloaded) for outcome in outcomes) == 8
        assert await cluster.n1.call("another", steps[0]) == "done"


async def test_what_a_step_leaves_behind_does_not_hold_its_key() -> None:
    async with once_cluster() as cluster:
        go, left = asyncio.Event(), []

        async def later() -> Any:
            await go.wait()
            return await cluster.n1.call("key", Step())

        async def leaving(**_: Any) -> str:
            left.append(asyncio.create_task(later()))
            return "done"

        assert await cluster.n1.call("key", leaving) == "done"
        go.set()
        assert await left[0] == "done"
