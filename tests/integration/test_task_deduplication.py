"""Concurrent calls for one task key collapse into one run, whichever router they come through."""

import asyncio
from collections import Counter
from collections.abc import Callable

from agentring.v1 import task_pb2
from harness.client import connect, run_task
from harness.cluster import Cluster

CALLS = 100


async def test_a_hundred_calls_through_two_routers_are_one_run(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=3, routers=2)
    async with connect(cluster.routers["r1"].address) as one, connect(cluster.routers["r2"].address) as two:
        told = await asyncio.gather(
            *(run_task(channel, "the-one", tokens=20, rate=100) for channel in (one, two) for _ in range(CALLS // 2))
        )
        late = await run_task(two, "the-one", tokens=20, rate=100)

    dispositions = Counter(each.disposition for each in told)
    assert dispositions[task_pb2.DISPOSITION_STARTED] == 1
    joined = dispositions[task_pb2.DISPOSITION_JOINED] + dispositions[task_pb2.DISPOSITION_REPLAYED]
    assert joined == CALLS - 1
    assert late.disposition == task_pb2.DISPOSITION_REPLAYED
    assert len({(each.node, each.epoch, each.text, str(each.result)) for each in (*told, late)}) == 1
    assert late.result == {"tokens": 20}
    assert len(cluster.audit("task_started")) == 1


async def test_tasks_with_different_keys_do_not_wait_for_each_other(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, routers=1)
    async with connect(cluster.router) as channel:
        told = await asyncio.gather(*(run_task(channel, f"key-{i}", tokens=2) for i in range(30)))
    assert {each.disposition for each in told} == {task_pb2.DISPOSITION_STARTED}
    assert len(cluster.audit("task_started")) == 30


async def test_a_dead_nodes_key_is_gone_with_its_lease(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, routers=1)
    async with connect(cluster.router) as channel:
        first = await run_task(channel, "again", tokens=2)
        cluster.nodes[first.node].process.stop(9)  # type: ignore[arg-type]
        deadline = asyncio.get_running_loop().time() + cluster.lease_ttl_s + 1
        while True:
            try:
                second = await run_task(channel, "again", tokens=2)
                break
            except Exception:
                assert asyncio.get_running_loop().time() < deadline, "the key did not come free in time"
                await asyncio.sleep(0.05)
    assert second.disposition == task_pb2.DISPOSITION_STARTED
    assert second.node != first.node
    assert second.epoch > first.epoch
