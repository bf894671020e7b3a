"""A turn, a task or a step that ends or blocks its node ends one node, and then its own run alone."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from agentring.v1.session_pb2 import Event
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.ending import FLAG

PATIENCE_S = 60.0


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster(nodes=3, lease_ttl_s=2, flags=(FLAG, "--max-turn-attempts=5"))


async def run(channel: aio.Channel, as_task: bool, name: str, **data: Any) -> list[Event]:
    """All that a turn, or a task, told."""
    turn_input = session_pb2.Input()
    turn_input.data.update(data)
    events: list[Event] = []
    if as_task:
        request = task_pb2.RunTaskRequest(task_key=name, agent="ending", input=turn_input)
        async for response in task_pb2_grpc.TaskServiceStub(channel).RunTask(request, timeout=PATIENCE_S):
            events += response.events
    else:
        asked = session_pb2.RunTurnRequest(session_id=name, agent="ending", turn=session_pb2.Turn(input=turn_input))
        async for turned in session_pb2_grpc.SessionServiceStub(channel).RunTurn(asked, timeout=PATIENCE_S):
            events += turned.events
    return events


def ended(cluster: Cluster) -> list[str]:
    """The nodes that have ended."""
    return [name for name, node in cluster.nodes.items() if node.process.returncode is not None]


@pytest.mark.parametrize(
    ("as_task", "end", "way", "reason"),
    [(False, "blocks", "in a callback", "AGENT_BLOCKED"), (True, "exits", "", "AGENT_ENDED_NODE")],
    ids=["turn", "task"],
)
async def test_it_ends_one_node(cluster: Cluster, end: str, way: str, reason: str, as_task: bool) -> None:
    async with connect(cluster.router) as channel:
        neighbours = [asyncio.create_task(run_turn(channel, f"n{i}", turn(tokens=300, rate=50))) for i in range(6)]
        events = await run(channel, as_task, "poison", end=end, way=way)
        assert events[-1].turn_failed.reason == reason
        (dead,) = ended(cluster)
        for neighbour in neighbours:
            assert (await neighbour).result == {"tokens": 300}
    kind = "task_failed" if as_task else "turn_failed"
    assert [line["reason"] for line in cluster.audit(kind)] == [reason]
    logs = "".join(node.process.log.read_text() for name, node in cluster.nodes.items() if name != dead)
    (line,) = [line for line in logs.splitlines() if reason in line]
    assert all(word in line for word in ('"agent": "ending"', '"poison"', '"attempt": 2'))


async def test_one_that_was_cut_off_by_chance_completes(cluster: Cluster, tmp_path: Any) -> None:
    async with connect(cluster.router) as channel:
        events = await run(channel, False, "s", end="is killed", only=1, log=str(tmp_path / "runs"))
    assert len(ended(cluster)) == 1
    assert dict(events[-1].turn_completed.result)["attempt"] == 2
    pids = {node.process.pid for node in cluster.nodes.values()}
    assert dict(events[-1].turn_completed.result)["pid"] not in pids
    async with connect(cluster.router) as channel:  # its next turn is one of the node's own process again
        events = await run(channel, False, "s")
    assert dict(events[-1].turn_completed.result)["turns"] == 2
    assert dict(events[-1].turn_completed.result)["pid"] in pids


async def test_a_step_that_others_wait_for_does_not_end_theirs(cluster: Cluster) -> None:
    async with connect(cluster.router) as channel:
        received = await asyncio.gather(*(run(channel, False, f"s{i}", end="exits", step="once") for i in range(6)))
    assert len(ended(cluster)) <= 2
    reasons = {events[-1].turn_failed.reason for events in received}
    assert reasons <= {"AGENT_ENDED_NODE", "AGENT_ERROR"}


async def test_a_volatile_store_forgets_the_turn_and_runs_the_task_in_a_child_process(
    make_cluster: Callable[..., Cluster],
) -> None:
    """There the router's calling again is all that the next node knows; a turn's event log cannot be continued."""
    cluster = make_cluster(nodes=3, lease_ttl_s=2, flags=(FLAG, "--store=memory:"))
    async with connect(cluster.router) as channel:
        with pytest.raises(aio.AioRpcError) as error:
            await run(channel, False, "poison", end="exits")
        assert error.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert len(ended(cluster)) == 1
        events = await run(channel, True, "poison", end="exits")
    assert events[-1].turn_failed.reason == "AGENT_ENDED_NODE"
    assert len(ended(cluster)) == 2
