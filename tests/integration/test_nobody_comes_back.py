"""A turn whose node was killed in the middle of it, and whose client never comes back."""

import signal
from collections.abc import Callable

from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster


async def test_the_turn_completes_once_on_a_node_that_lives_though_nobody_asks(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, lease_ttl_s=2)
    cut, waiting = turn(tokens=60, rate=40), turn("waits")
    async with connect(cluster.router) as channel:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        for sent in (cut, waiting):
            request = session_pb2.SubmitTurnRequest(session_id="s", agent="echo", turn=sent)
            await stub.SubmitTurn(request, timeout=10)
    await cluster.until_audited("turn_started", 1)
    (claimed,) = cluster.audit("claimed")
    cluster.nodes[claimed["node"]].process.stop(signal.SIGKILL)
    await cluster.until_audited("turn_committed", 2)

    started = [(line["turn"], line["attempt"]) for line in cluster.audit("turn_started")]
    assert started == [(cut.turn_id, 1), (cut.turn_id, 2), (waiting.turn_id, 1)]
    assert [line["turn"] for line in cluster.audit("turn_committed")] == [cut.turn_id, waiting.turn_id]
    first, second = cluster.audit("activated")
    assert first["node"] != second["node"]
    assert second["epoch"] > first["epoch"]
    async with connect(cluster.router) as channel:  # it is as if a client had been there all the time
        received = await run_turn(channel, "s", cut)
    assert received.result == {"tokens": 60}
    assert {event.attempt for event in received.events} == {2}
    assert len(cluster.audit("turn_started")) == 3
