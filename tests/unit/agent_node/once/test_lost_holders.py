"""Holders of a key that are lost, cancelled or fenced, and answers that are lost on the way."""

import asyncio

import pytest

from agent_node.store.once_records import OnceCaller, OnceOwnership, RunStart, begin
from agentring.errors import (
    CoordinatorUnavailable,
    NodeFenced,
    StaleEpoch,
    StoreUnavailable,
)
from agentring.ids import Epoch, parse_session
from agentring.v1.task_pb2 import TASK_STATE_RUNNING
from harness.once import KEY, Step, once_cluster, settled

CALLER = OnceCaller(parse_session("", "s"), "t")


async def test_a_lost_holder_frees_the_key_and_a_waiter_runs_the_step() -> None:
    async with once_cluster() as cluster:
        first, second = Step(), Step("second")
        lost = cluster.n1.begin("key", first)
        await first.begun.wait()
        waiting = [cluster.n2.begin("key", second) for _ in range(5)]
        await settled()
        assert cluster.watches == [("key", [])]
        cluster.n1.lose()
        lost.cancel()
        await second.begun.wait()
        second.go.set()
        assert await asyncio.gather(*waiting) == ["second"] * 5
        assert first.calls[0][0] == second.calls[0][0]
        assert first.calls[0][1] < second.calls[0][1]
        with pytest.raises(asyncio.CancelledError):
            await lost
        assert (await cluster.stored("key")).attempt == 2


async def test_a_result_that_comes_after_the_fence_is_returned_to_nobody() -> None:
    async with once_cluster() as cluster:
        first, second = Step("first"), Step("second")
        second.go.set()
        lost = cluster.n1.begin("key", first)
        await first.begun.wait()
        cluster.n1.lose()
        assert await cluster.n2.call("key", second) == "second"
        first.go.set()
        with pytest.raises(NodeFenced):
            await lost
        assert await cluster.n2.call("key", Step()) == "second"


async def test_a_result_of_an_earlier_epoch_is_refused_by_the_store() -> None:
    async with once_cluster() as cluster:
        step = Step()
        lost = cluster.n1.begin("key", step)
        await step.begun.wait()
        later = OnceOwnership(KEY, Epoch((await cluster.stored("key")).epoch + 1), "n9/9")
        await cluster.store.change(later, begin(later, RunStart(CALLER, True, "run", 0.0)))
        step.go.set()
        with pytest.raises(StaleEpoch):
            await lost
        assert (await cluster.stored("key")).state == TASK_STATE_RUNNING


async def test_a_cancelled_holder_leaves_the_step_to_a_waiter_here() -> None:
    async with once_cluster() as cluster:
        first, second = Step("first"), Step("second")
        second.go.set()
        holder = cluster.n1.begin("key", first)
        await first.begun.wait()
        here, there = cluster.n1.begin("key", second), cluster.n2.begin("key", second)
        await settled()
        holder.cancel()
        assert list(await asyncio.gather(here, there)) == ["second", "second"]
        assert len(second.calls) == 1
        assert first.calls[0][0] == second.calls[0][0]


async def test_a_waiter_that_leaves_takes_nobody_with_it() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        leader, other = cluster.n2.begin("key", step), cluster.n2.begin("key", step)
        await settled()
        leader.cancel()
        step.go.set()
        assert list(await asyncio.gather(holder, other)) == ["done", "done"]
        assert len(step.calls) == 1


async def test_without_etcd_a_call_ends_at_its_deadline_with_the_reason() -> None:
    async with once_cluster() as cluster:
        cluster.etcd.at_once = False
        call = cluster.n1.begin("key", Step(), timeout_s=0.05)
        await settled()
        cluster.etcd.requests.pop().lose()
        with pytest.raises(CoordinatorUnavailable):
            await call
        cluster.etcd.at_once = True
        for request in cluster.etcd.requests:
            request.lose()
        step = Step()
        step.go.set()
        assert await cluster.n1.call("key", step) == "done"


async def test_a_claim_that_its_caller_does_not_wait_for_is_given_back() -> None:
    async with once_cluster() as cluster:
        cluster.etcd.at_once = False
        step = Step()
        call = cluster.n1.begin("key", step, idempotent=False)
        await settled()
        call.cancel()
        await settled()
        cluster.etcd.at_once = True
        (request,) = cluster.etcd.requests
        request.apply()
        request.reply()
        await settled()
        assert not cluster.is_held("key")
        step.go.set()
        assert await cluster.n2.call("key", step, idempotent=False) == "done"
        assert len(step.calls) == 1


async def test_a_run_whose_row_landed_unnoticed_was_not_begun() -> None:
    async with once_cluster() as cluster:
        cluster.store.changes_fail = [StoreUnavailable()]
        step = Step()
        step.go.set()
        assert await cluster.n1.call("key", step, idempotent=False) == "done"
        assert len(step.calls) == 1
        assert (await cluster.stored("key")).attempt == 1


async def test_a_result_whose_row_landed_unnoticed_is_kept_once() -> None:
    async with once_cluster() as cluster:
        cluster.store.ends_fail = [StoreUnavailable()]
        step = Step()
        step.go.set()
        assert await cluster.n1.call("key", step) == "done"
        assert (len(step.calls), cluster.store.landed_ends) == (1, 2)


async def test_nothing_is_run_once_the_lease_may_be_gone() -> None:
    async with once_cluster() as cluster:
        step = Step()
        cluster.store.on_change = cluster.n1.lose
        with pytest.raises(NodeFenced):
            await cluster.n1.call("key", step)
        assert step.calls == []
