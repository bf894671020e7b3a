"""Steps that run once: one run for a key, shared by all who ask, on both nodes."""

import asyncio
from typing import Any

import pytest

from agent_node.store.once_records import OnceCaller, OnceOwnership, RunStart, begin
from agentring.agent import OnceFailed, OnceTimeout, OnceUnknown
from agentring.errors import (
    CoordinatorUnavailable,
    InvalidTaskKey,
    NodeFenced,
    NodeOverloaded,
    RunNotFound,
    RunNotResolvable,
    StaleEpoch,
    StoreUnavailable,
)
from agentring.ids import Epoch, parse_once, parse_session
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_PENDING, TASK_STATE_RUNNING, TASK_STATE_UNKNOWN
from harness.agents import nested
from harness.once import OnceCluster, Step, once_cluster, settled

KEY = parse_once("", "key")
CALLER = OnceCaller(parse_session("", "s"), "t")


async def test_all_who_ask_on_both_nodes_get_the_one_runs_result() -> None:
    async with once_cluster() as cluster:
        step = Step({"receipt": 7, "pair": (1, 2)})
        calls = [node.begin("key", step) for _ in range(50) for node in (cluster.n1, cluster.n2)]
        await step.begun.wait()
        await settled()
        assert len(cluster.watches) == 1  # those of the other node wait together
        step.go.set()
        assert await asyncio.gather(*calls) == [{"receipt": 7, "pair": [1, 2]}] * 100
        assert len(step.calls) == 1
        assert cluster.n1.events + cluster.n2.events == ["once_started", "once_committed"]
        assert not cluster.is_held("key")


async def test_the_result_is_replayed_on_every_node_without_a_claim() -> None:
    async with once_cluster() as cluster:
        step = Step()
        step.go.set()
        assert await cluster.n1.call("key", step) == "done"
        claimed = cluster.etcd.revision
        assert [await node.call("key", Step()) for node in (cluster.n1, cluster.n2)] == ["done", "done"]
        assert cluster.etcd.revision == claimed


async def test_after_its_retention_a_step_is_run_anew_under_another_idempotency_key() -> None:
    async with once_cluster() as cluster:
        step = Step()
        step.go.set()
        await cluster.n1.call("key", step)
        cluster.store_clock.advance(cluster.limits.retention_s - 1.0)
        assert await cluster.n2.call("key", Step()) == "done"
        cluster.store_clock.advance(1.0)
        await cluster.n2.call("key", step)
        (first, one), (second, other) = step.calls
        assert first != second
        assert one < other


async def test_an_error_is_everybodys_and_says_what_it_was() -> None:
    async with once_cluster() as cluster:
        step = Step()
        step.error = LookupError("no such account")
        calls = [node.begin("key", step) for node in (cluster.n1, cluster.n2) for _ in range(5)]
        await step.begun.wait()
        step.go.set()
        for call in calls:
            with pytest.raises(OnceFailed) as failed:
                await call
            assert (failed.value.key, failed.value.type_name) == ("key", "LookupError")
            assert failed.value.text == "no such account"
        with pytest.raises(OnceFailed):
            await cluster.n2.call("key", step)
        assert len(step.calls) == 1


async def test_a_failed_step_is_run_again_after_a_while_under_the_same_idempotency_key() -> None:
    async with once_cluster(failure_s=0.0) as cluster:
        step = Step()
        step.go.set()
        step.error = LookupError("no such account")
        with pytest.raises(OnceFailed):
            await cluster.n1.call("key", step)
        step.error = None
        assert await cluster.n2.call("key", step) == "done"
        (first, one), (second, other) = step.calls
        assert first == second
        assert one < other
        assert (await cluster.stored("key")).attempt == 2


async def test_a_failed_step_that_must_not_run_twice_stays_failed() -> None:
    async with once_cluster(failure_s=0.0) as cluster:
        step = Step()
        step.go.set()
        step.error = LookupError("no such account")
        with pytest.raises(OnceFailed):
            await cluster.n1.call("key", step, idempotent=False)
        for idempotent in (False, True):
            with pytest.raises(OnceFailed):
                await cluster.n1.call("key", step, idempotent=idempotent)
        assert len(step.calls) == 1


@pytest.mark.parametrize("result", [object(), float("nan"), "x" * 1_001, "\ud800", nested(150)])
async def test_what_cannot_be_kept_is_a_failure(result: Any) -> None:
    async with once_cluster() as cluster:
        step = Step(result)
        step.go.set()
        with pytest.raises(OnceFailed) as failed:
            await cluster.n1.call("key", step)
        assert failed.value.type_name == "ResultNotKept"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LookupError("a\0b\ud800"), "a\N{REPLACEMENT CHARACTER}b?"),
        (Unspeakable(), ""),
        (LookupError("x" * 5_000), "x" * 1_000),
    ],
)
async def test_whatever_an_error_says_it_can_be_kept_and_told(error: Exception, text: str) -> None:
    async with once_cluster() as cluster:
        step = Step()
        step.error = error
        step.go.set()
        for node in (cluster.n1, cluster.n2):
            with pytest.raises(OnceFailed) as failed:
                await node.call("key", step)
            assert (failed.value.type_name, failed.value.text) == (type(error).__name__, text)
        assert len(step.calls) == 1


@pytest.mark.parametrize("key", ["", "two words", "é", "x" * 257])
async def test_a_key_that_is_none_is_refused(key: str) -> None:
    async with once_cluster() as cluster:
        with pytest.raises(InvalidTaskKey):
            await cluster.n1.call(key, Step())


async def test_a_lost_holder_frees_the_key_and_who_waits_runs_the_step() -> None:
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


async def test_a_result_that_comes_after_the_fence_is_told_nobody() -> None:
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


async def test_a_cancelled_holder_leaves_the_step_to_who_waits_here() -> None:
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


async def test_a_wait_ends_at_its_deadline_and_the_run_goes_on() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        for node in (cluster.n1, cluster.n2):
            with pytest.raises(OnceTimeout) as late:
                await node.call("key", step, timeout_s=0.01)
            assert (late.value.key, late.value.timeout_s) == ("key", 0.01)
        step.go.set()
        assert await holder == "done"


async def test_the_deadline_is_not_the_steps_own() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step, timeout_s=0.2)
        await step.begun.wait()
        await asyncio.sleep(0.25)
        step.go.set()
        assert await holder == "done"


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


async def test_a_node_holds_no_more_keys_than_it_may() -> None:
    async with once_cluster(max_keys=1) as cluster:
        step = Step()
        holder = cluster.n1.begin("one", step)
        await step.begun.wait()
        with pytest.raises(NodeOverloaded):
            await cluster.n1.call("another", step)
        step.go.set()
        assert await holder == "done"


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


async def test_an_idempotent_run_that_was_cut_off_is_not_repeated_by_who_must_not() -> None:
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


async def test_with_a_volatile_store_the_holder_keeps_the_key_and_tells_the_result() -> None:
    async with once_cluster(durable=False) as cluster:
        step = Step()
        step.go.set()
        assert await cluster.n1.call("key", step) == "done"
        assert cluster.is_held("key")
        assert [await node.call("key", step) for node in (cluster.n1, cluster.n2)] == ["done", "done"]
        cluster.clock.advance(7.0)
        await cluster.n1.keys.forget_ended()
        assert cluster.is_held("key")
        assert len(step.calls) == 1


async def test_with_a_volatile_store_the_key_is_free_once_the_retention_is_over() -> None:
    async with once_cluster(durable=False, failure_s=5.0) as cluster:
        step = Step()
        step.go.set()
        step.error = LookupError("not yet")
        with pytest.raises(OnceFailed):
            await cluster.n1.call("key", step)
        cluster.clock.advance(5.0)
        await cluster.n1.keys.forget_ended()
        assert not cluster.is_held("key")
        step.error = None
        assert await cluster.n2.call("key", step) == "done"


async def test_with_a_volatile_store_the_holder_resolves() -> None:
    async with once_cluster(durable=False) as cluster:
        unknown = Unknown(cluster)
        await unknown.cut_off("cancelled")
        assert cluster.is_held("key")
        await cluster.n1.keys.resolve(KEY, '"settled"')
        assert [await node.call("key", Step()) for node in (cluster.n1, cluster.n2)] == ["settled", "settled"]
