"""A node whose disk takes no more: nothing is acknowledged, it says why, and goes on by itself once there is space.

The disk is full for one process, by its RLIMIT_FSIZE: the store, the audit log and what it logs cannot grow.
"""

import resource
from collections.abc import Callable

from grpc import StatusCode, aio

from agentring.errors import SessionMoving, StoreFull, StoreUnavailable
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.agents import FLAGS
from harness.client import connect, run_turn, run_turn_until_answered, turn
from harness.cluster import Cluster
from harness.raw import read_details

TAKES_BYTES = 8_192


async def refused(channel: aio.Channel, sent: session_pb2.Turn) -> str:
    """Asks for a turn, which is not acknowledged; why not."""
    request = session_pb2.RunTurnRequest(session_id="s", agent="faulty", turn=sent)
    received: list[session_pb2.Event] = []
    try:
        async for response in session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10):
            received.extend(response.events)
    except aio.AioRpcError as error:
        info, retry_after_s = read_details(error)
        assert error.code() is StatusCode.UNAVAILABLE  # noqa: PT017  any other fails at once
        assert retry_after_s is not None
        assert not [event for event in received if event.HasField("turn_accepted")]
        return str(info.reason)
    raise AssertionError("it was acknowledged")


async def test_a_full_disk_acknowledges_nothing_and_loses_nothing(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS)
    node = cluster.nodes["n1"]
    async with connect(node.address) as channel:
        assert (await run_turn(channel, "s", turn("count"), agent="faulty")).result == {"turns": 1}
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (TAKES_BYTES, resource.RLIM_INFINITY))
        sent = [turn("count") for _ in range(3)]
        reasons = [await refused(channel, each) for each in sent]
        assert {StoreFull.reason, StoreUnavailable.reason} & set(reasons)
        assert {StoreFull.reason, StoreUnavailable.reason, SessionMoving.reason} >= set(reasons)
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        results = [
            (await run_turn_until_answered(channel, "s", each, agent="faulty", within_s=20)).result for each in sent
        ]
        assert results == [{"turns": 2}, {"turns": 3}, {"turns": 4}]
        assert node.process.returncode is None
