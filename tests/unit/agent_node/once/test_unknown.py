"""Steps that must not run twice and were cut off: UNKNOWN until somebody resolves them."""

import asyncio

import pytest

from agentring.agent import OnceUnknown
from agentring.errors import (
    RunNotFound,
    RunNotResolvable,
)
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_PENDING, TASK_STATE_RUNNING, TASK_STATE_UNKNOWN
from harness.once import KEY, OnceCluster, Step, once_cluster, settled


class Unknown:
    """A step that must not run twice, cut off in the middle; how is the test's choice."""

    def __init__(self, cluster: OnceCluster) -> None:
        self.cluster = cluster
        self.step = Step()

    async def cut_off(self, how: str) -> None:
        holder = self.cluster.n1.begin("key", self.step, idempotent=False)
        await self.step.begun.wait()
        waiting = self.cluster.n2.begin("key", self.step, idempotent=False)
        await settled()
        if how == "lost":
            self.cluster.n1.lose()
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        with pytest.raises(OnceUnknown):
            await waiting


@pytest.mark.parametrize("how", ["cancelled", "lost"])
async def test_what_must_not_run_twice_and_was_cut_off_is_unknown_and_stays_so(how: str) -> None:
    async with once_cluster() as cluster:
        unknown = Unknown(cluster)
        await unknown.cut_off(how)
        for idempotent in (True, False):
            with pytest.raises(OnceUnknown):
                await cluster.n2.call("key", unknown.step, idempotent=idempotent)
        assert len(unknown.step.calls) == 1
        row = await cluster.stored("key")
        assert (row.state, row.expires_ns) == (TASK_STATE_UNKNOWN, None)
        assert "once_unknown" in cluster.n1.events + cluster.n2.events
        assert cluster.n2.published_unknown == ["key"] * 3
        assert cluster.n1.published_unknown == (["key"] if how == "cancelled" else [])
        assert not cluster.is_held("key")


async def test_an_idempotent_run_that_was_cut_off_is_not_repeated_by_a_caller_that_must_not() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        cluster.n1.lose()
        holder.cancel()
        with pytest.raises(OnceUnknown):
            await cluster.n2.call("key", step, idempotent=False)
        assert len(step.calls) == 1
        with pytest.raises(asyncio.CancelledError):
            await holder


async def test_somebody_says_what_it_came_to() -> None:
    async with once_cluster() as cluster:
        unknown = Unknown(cluster)
        await unknown.cut_off("cancelled")
        row = await cluster.n2.keys.resolve(KEY, '{"receipt": 7}')
        assert row.state == TASK_STATE_COMPLETED
        assert [await node.call("key", Step()) for node in (cluster.n1, cluster.n2)] == [{"receipt": 7}] * 2
        with pytest.raises(RunNotResolvable):
            await cluster.n1.keys.resolve(KEY, "1")
        assert len(unknown.step.calls) == 1


async def test_somebody_lets_it_be_run_again_under_the_same_idempotency_key() -> None:
    async with once_cluster() as cluster:
        unknown = Unknown(cluster)
        await unknown.cut_off("cancelled")
        assert (await cluster.n2.keys.resolve(KEY, None)).state == TASK_STATE_PENDING
        unknown.step.go.set()
        assert await cluster.n2.call("key", unknown.step, idempotent=False) == "done"
        (first, one), (second, other) = unknown.step.calls
        assert first == second
        assert one < other


async def test_only_what_failed_or_is_unknown_can_be_resolved() -> None:
    async with once_cluster() as cluster:
        with pytest.raises(RunNotFound):
            await cluster.n1.keys.resolve(KEY, "1")
        step = Step()
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        for node in (cluster.n1, cluster.n2):
            with pytest.raises(RunNotResolvable) as refused:
                await node.keys.resolve(KEY, "1")
            assert refused.value.state == "TASK_STATE_RUNNING"
        assert (await cluster.stored("key")).state == TASK_STATE_RUNNING
        step.go.set()
        assert await holder == "done"


async def test_with_a_volatile_store_the_holder_resolves() -> None:
    async with once_cluster(durable=False) as cluster:
        unknown = Unknown(cluster)
        await unknown.cut_off("cancelled")
        assert cluster.is_held("key")
        await cluster.n1.keys.resolve(KEY, '"settled"')
        assert [await node.call("key", Step()) for node in (cluster.n1, cluster.n2)] == ["settled", "settled"]
