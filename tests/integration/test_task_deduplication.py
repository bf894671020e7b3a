"""Concurrent calls for one task key collapse into one run, whichever router they come through."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable

import pytest
from grpc.aio import AioRpcError

from agentring.rpc.status import read_error
from agentring.v1 import task_pb2, task_pb2_grpc
from harness.client import connect, run_task
from harness.cluster import Cluster

CALLS = 100


async def test_a_hundred_calls_through_two_routers_are_one_run(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=3, routers=2)
    async with connect(cluster.routers["r1"].address) as one, connect(cluster.routers["r2"].address) as two:
        received = await asyncio.gather(
            *(run_task(channel, "the-one", tokens=20, rate=100) for channel in (one, two) for _ in range(CALLS // 2))
        )
        late = await run_task(two, "the-one", tokens=20, rate=100)

    dispositions = Counter(each.disposition for each in received)
    assert dispositions[task_pb2.DISPOSITION_STARTED] == 1
    joined = dispositions[task_pb2.DISPOSITION_JOINED] + dispositions[task_pb2.DISPOSITION_REPLAYED]
    assert joined == CALLS - 1
    assert late.disposition == task_pb2.DISPOSITION_REPLAYED
    assert len({(each.node, each.epoch, each.text, str(each.result)) for each in (*received, late)}) == 1
    assert late.result == {"tokens": 20}
    assert len(cluster.audit("task_started")) == 1


async def test_tasks_with_different_keys_do_not_wait_for_each_other(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, routers=1)
    async with connect(cluster.router) as channel:
        received = await asyncio.gather(*(run_task(channel, f"key-{i}", tokens=2) for i in range(30)))
    assert {each.disposition for each in received} == {task_pb2.DISPOSITION_STARTED}
    assert len(cluster.audit("task_started")) == 30


async def test_an_ended_task_is_told_again_by_any_node_and_after_every_node_was_killed(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, routers=1)
    async with connect(cluster.router) as channel:
        first = await run_task(channel, "again", tokens=2)
    for node in cluster.nodes.values():
        async with connect(node.address) as direct:
            received = await run_task(direct, "again", tokens=2)
            assert (received.disposition, received.events) == (task_pb2.DISPOSITION_REPLAYED, first.events)
            with pytest.raises(AioRpcError) as mismatch:
                await run_task(direct, "again", tokens=3)
            assert read_error(mismatch.value).reason == "TASK_INPUT_MISMATCH"
    for node in cluster.nodes.values():
        node.process.stop(signal.SIGKILL)
    revived = cluster.start_node("n1")
    async with connect(revived.address) as direct:
        received = await run_task(direct, "again", tokens=2)
        task = await task_pb2_grpc.TaskServiceStub(direct).GetTask(task_pb2.GetTaskRequest(task_key="again"))
    assert (received.disposition, received.events) == (task_pb2.DISPOSITION_REPLAYED, first.events)
    assert (task.task.state, task.task.text) == (task_pb2.TASK_STATE_COMPLETED, first.text)
    assert len(cluster.audit("task_started")) == 1


async def test_a_killed_nodes_task_ends_though_its_caller_has_left(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, routers=1)
    async with connect(cluster.router) as channel:
        stub = task_pb2_grpc.TaskServiceStub(channel)
        request = task_pb2.RunTaskRequest(task_key="left", agent="echo")
        request.input.data.update({"tokens": 20, "rate": 10})
        call = stub.RunTask(request)
        node = dict(await call.initial_metadata())["x-agentring-node"]
        await cluster.until_audited("task_started", 1)
        call.cancel()
        cluster.nodes[str(node)].process.stop(signal.SIGKILL)
        # The lease, two sweeps, the run: nobody asks for it meanwhile.
        await cluster.until_audited("task_committed", 1)
        received = await run_task(channel, "left", tokens=20, rate=10)
    assert received.disposition == task_pb2.DISPOSITION_REPLAYED
    assert received.kinds[0] == "attempt_restarted"
    assert (received.node != node, received.result) == (True, {"tokens": 20})
    assert [line["attempt"] for line in cluster.audit("task_started")] == [1, 2]
