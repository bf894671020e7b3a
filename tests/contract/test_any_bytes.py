"""Header fields of any bytes, to a router and to a node: answered, and all that served before serves afterwards."""

import pytest
from grpc import aio

from agentring.v1 import session_pb2
from harness.byte_client import byte_client
from harness.client import run_turn, turn
from harness.cluster import Cluster

HEALTH = "/grpc.health.v1.Health/Check"
RUN = "/agentring.v1.SessionService/RunTurn"


@pytest.mark.parametrize("path", ["/u\xff/M", "/grpc.\xff/M", "/agentring.v1.\xff/M", "/a b/M"])
async def test_a_path_of_any_bytes_ends_no_server(channel: aio.Channel, cluster: Cluster, door: str, path: str) -> None:
    address = cluster.router if door == "router" else cluster.nodes["n1"].address
    for session in ((), (("x-session-id", "s0"),)):
        async with byte_client(address) as peer:
            peer.request(1, path, *session, end=True)
            received = await peer.answer(1)
            assert (received.status, received.reason) == ("3", "MALFORMED_HEADER")
            peer.request(3, HEALTH)
            peer.message(3, b"")
            assert (await peer.answer(3)).status == "0"
    for node in cluster.nodes.values():
        async with aio.insecure_channel(node.address) as straight:
            assert (await run_turn(straight, f"bytes-{node.address}", turn("hi"))).text == "hi"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ((), {"authority": ""}),
        ((("host", "x"),), {"authority": ""}),
        ((("te", ""),), {}),
        ((("x-bin", "AAA"),), {}),
    ],
)
async def test_what_a_client_need_not_say_is_not_missed(
    channel: aio.Channel,
    cluster: Cluster,
    door: str,
    name: str,
    more: tuple[tuple[str, str], ...],
    line: dict[str, str],
) -> None:
    address = cluster.router if door == "router" else cluster.nodes["n1"].address
    request = session_pb2.RunTurnRequest(session_id=name, agent="echo", turn=turn("hi"))
    async with byte_client(address) as peer:
        peer.request(1, RUN, *more, line=line)
        peer.message(1, request.SerializeToString())
        received = await peer.answer(1)
    # A node that does not own it says so; no node resets it.
    assert received.reset is None
    assert received.status == "0" or received.reason == "NOT_OWNER"
