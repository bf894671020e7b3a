"""Steps that run once: one run for a key, shared by all callers, on both nodes."""

import asyncio
from typing import Any

import pytest

from agentring.agent import OnceFailed, OnceTimeout
from agentring.errors import (
    InvalidTaskKey,
    NodeOverloaded,
)
from harness.agents import nested
from harness.once import Step, once_cluster, settled


async def test_all_callers_on_both_nodes_get_the_one_runs_result() -> None:
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
async def test_whatever_an_errors_text_is_it_can_be_stored_and_returned(error: Exception, text: str) -> None:
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


async def test_a_node_holds_no_more_keys_than_it_may() -> None:
    async with once_cluster(max_keys=1) as cluster:
        step = Step()
        holder = cluster.n1.begin("one", step)
        await step.begun.wait()
        with pytest.raises(NodeOverloaded):
            await cluster.n1.call("another", step)
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
