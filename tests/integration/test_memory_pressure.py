"""A node that takes more memory than it may gives up what is idle, and takes nothing for which nothing can go."""

from collections.abc import Callable

from agentring.errors import NodeOverloaded
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect, error_of, run_turn, turn
from harness.cluster import Cluster

FLAGS = ("--agent=swelling=harness.agents:swelling", "--max-memory-mib=400")


async def test_idle_sessions_go_and_new_ones_wait_outside(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, flags=FLAGS)
    async with connect(cluster.router) as channel:
        await run_turn(channel, "small", turn(mib=0), agent="swelling")
        await run_turn(channel, "large", turn(mib=500), agent="swelling")
        await cluster.until_audited("passivated", 2)
        request = session_pb2.RunTurnRequest(session_id="new", agent="swelling", turn=turn(mib=0))
        refused = await error_of(session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10))
        assert refused.reason == NodeOverloaded.reason
        assert [line["session"] for line in cluster.audit("activated")] == ["small", "large"]
