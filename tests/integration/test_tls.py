"""TLS: clients to the router, and the router to nodes, each with certificates on both sides."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc import aio

from agentring.certificates.names import Holder
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.certificates import Certificates
from harness.client import run_turn, turn
from harness.cluster import Cluster, until_sees


def _stranger(tmp_path: Path, cluster: str) -> tuple[bytes, bytes]:
    """A key and its certificate of another authority."""
    directory = tmp_path / "stranger"
    directory.mkdir()
    certificate, key = Certificates(directory, cluster).issue("stranger")
    return key.read_bytes(), certificate.read_bytes()


async def test_every_hop_is_encrypted_and_both_ends_are_known(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=0, routers=0)
    certificates = Certificates(tmp_path, cluster.name)
    for name in ("n1", "n2"):
        cluster.start_node(name, *certificates.serving(name, Holder.node))
    cluster.start_router("r1", *certificates.serving("r1", Holder.router), *certificates.to_nodes("r1"))
    until_sees(cluster.router, 2, certificates.credentials("tests"))
    async with aio.secure_channel(cluster.router, certificates.credentials("client")) as channel:
        for n in range(8):
            assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"

    stranger_key, stranger_certificate = _stranger(tmp_path, cluster.name)
    stranger = grpc.ssl_channel_credentials(certificates.ca.read_bytes(), stranger_key, stranger_certificate)
    request = session_pb2.RunTurnRequest(session_id="s0", agent="echo", turn=turn("hi"))
    for address, credentials in [
        (cluster.router, certificates.credentials(None)),
        (cluster.nodes["n1"].address, certificates.credentials(None)),
        (cluster.router, stranger),
    ]:
        async with aio.secure_channel(address, credentials) as channel:
            with pytest.raises(aio.AioRpcError) as refused:
                await session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10).read()
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    async with aio.insecure_channel(cluster.router) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10).read()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def _refused_by(router: str) -> aio.AioRpcError:
    async with aio.insecure_channel(router) as channel:
        request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=turn("hi"))
        with pytest.raises(aio.AioRpcError) as refused:
            await session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10).read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    return refused.value


async def test_a_router_serves_no_call_by_a_node_that_it_cannot_trust(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=0, routers=0)
    certificates = Certificates(tmp_path, cluster.name)
    cluster.start_node("n1", *certificates.serving("n2", Holder.node))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cluster.start_router("r2", f"--node-ca={Certificates(elsewhere, cluster.name).ca}")
    cluster.start_router("r1", *certificates.to_nodes("r1"))
    until_sees(cluster.router, 1)
    assert "lost" in ((await _refused_by(cluster.routers["r1"].address)).details() or "")  # another node's certificate
    assert "lost" in ((await _refused_by(cluster.routers["r2"].address)).details() or "")  # another authority's
