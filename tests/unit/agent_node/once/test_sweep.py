"""Runs that were cut off, and that nobody will run again because their turn has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agent_node.once.sweep import OrphanSweep
from agent_node.store.once_records import OnceCaller, OnceOwnership
from agentring.agent import OnceFailed, OnceUnknown
from agentring.cluster.records import UnreadableRecord
from agentring.ids import OnceRef, parse_once
from agentring.v1.task_pb2 import TASK_STATE_FAILED, TASK_STATE_RUNNING, TASK_STATE_UNKNOWN
from harness.once import OnceCluster, Step, once_cluster


class Sweep:
    """A cluster whose n1 was lost while it ran a step of the turn `t`, and n2's sweep."""

    def __init__(self, cluster: OnceCluster) -> None:
        self.cluster = cluster
        self.turn_ended = True
        self.asked: list[OnceCaller] = []
        self.sweep = OrphanSweep(cluster.n2.keys, cluster.store, self._has_ended)

    async def _has_ended(self, caller: OnceCaller) -> bool:
        self.asked.append(caller)
        return self.turn_ended

    async def state(self) -> int:
        return (await self.cluster.stored("key")).state


@asynccontextmanager
async def orphaned(*, idempotent: bool = True) -> AsyncIterator[Sweep]:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step, idempotent=idempotent)
        await step.begun.wait()
        cluster.n1.lose()
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        yield Sweep(cluster)


async def test_after_two_looks_it_has_failed_for_everybody() -> None:
    async with orphaned() as sweep:
        await sweep.sweep.look()
        assert (await sweep.state(), sweep.asked) == (TASK_STATE_RUNNING, [])
        await sweep.sweep.look()
        assert await sweep.state() == TASK_STATE_FAILED
        assert [caller.turn_id for caller in sweep.asked] == ["t"]
        with pytest.raises(OnceFailed) as failed:
            await sweep.cluster.n2.call("key", Step())
        assert failed.value.type_name == "TurnEnded"
        assert sweep.cluster.n2.events == ["once_failed"]
        assert not sweep.cluster.is_held("key")


async def test_one_that_must_not_run_twice_is_unknown() -> None:
    async with orphaned(idempotent=False) as sweep:
        for _ in range(3):
            await sweep.sweep.look()
        assert await sweep.state() == TASK_STATE_UNKNOWN
        assert sweep.cluster.n2.events == ["once_unknown"]
        with pytest.raises(OnceUnknown):
            await sweep.cluster.n2.call("key", Step())


async def test_a_turn_that_goes_on_runs_it_again_itself() -> None:
    async with orphaned() as sweep:
        sweep.turn_ended = False
        for _ in range(3):
            await sweep.sweep.look()
        assert await sweep.state() == TASK_STATE_RUNNING
        step = Step("again")
        step.go.set()
        assert await sweep.cluster.n2.call("key", step) == "again"


async def test_one_that_was_resumed_between_the_looks_is_left_alone() -> None:
    async with orphaned() as sweep:
        await sweep.sweep.look()
        step = Step()
        holder = sweep.cluster.n2.begin("key", step)
        await step.begun.wait()
        await sweep.sweep.look()
        await sweep.sweep.look()
        assert await sweep.state() == TASK_STATE_RUNNING
        step.go.set()
        assert await holder == "done"


async def test_another_nodes_key_is_left_alone() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n1.begin("key", step)
        await step.begun.wait()
        sweep = Sweep(cluster)
        for _ in range(3):
            await sweep.sweep.look()
        step.go.set()
        assert await holder == "done"
        assert len(step.calls) == 1


async def test_one_that_cannot_be_ended_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with orphaned() as sweep:
        cluster, keys = sweep.cluster, sweep.cluster.n2.keys
        row, end = await cluster.stored("key"), keys.end_orphan
        bad = parse_once("", "bad")
        await cluster.store.change(OnceOwnership(bad, row.epoch, row.owner), lambda _row, _now: replace(row, ref=bad))

        async def failing(ref: OnceRef, caller: OnceCaller) -> None:
            if ref == bad:
                raise UnreadableRecord
            await end(ref, caller)

        monkeypatch.setattr(keys, "end_orphan", failing)
        await sweep.sweep.look()
        await sweep.sweep.look()
        assert await sweep.state() == TASK_STATE_FAILED
