"""TLS: clients to the router, and the router to nodes, each with certificates on both sides."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import trustme
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import run_turn, turn
from harness.cluster import Cluster


class Certificates:
    """An authority and what it has signed, as PEM files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.ca = self._write("ca.pem", self._authority.cert_pem.bytes())

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, and its key."""
        issued = self._authority.issue_cert("127.0.0.1")
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        return self._write(f"{name}.pem", chain), self._write(f"{name}.key", issued.private_key_pem.bytes())

    def credentials(self, name: str | None) -> grpc.ChannelCredentials:
        """A client's; None: one without a certificate."""
        certificate, key = self.issue(name) if name else (None, None)
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), key.read_bytes() if key else None, certificate.read_bytes() if certificate else None
        )

    def _write(self, name: str, pem: bytes) -> Path:
        path = self._directory / name
        path.write_bytes(pem)
        return path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def _serving(certificates: Certificates, name: str) -> tuple[str, ...]:
    certificate, key = certificates.issue(name)
    return (f"--tls-cert={certificate}", f"--tls-key={key}", f"--tls-client-ca={certificates.ca}")


def _stranger(tmp_path: Path) -> tuple[bytes, bytes]:
    """A key and its certificate of another authority."""
    directory = tmp_path / "stranger"
    directory.mkdir()
    certificate, key = Certificates(directory).issue("stranger")
    return key.read_bytes(), certificate.read_bytes()


async def test_every_hop_is_encrypted_and_both_ends_are_known(
    make_cluster: Callable[..., Cluster], certificates: Certificates, tmp_path: Path
) -> None:
    certificate, key = certificates.issue("router-to-node")
    to_nodes = (f"--node-ca={certificates.ca}", f"--node-cert={certificate}", f"--node-key={key}")
    cluster = make_cluster(
        nodes=2,
        flags=_serving(certificates, "node"),
        router_flags=(*_serving(certificates, "router"), *to_nodes),
        sees_by=certificates.credentials("tests"),
    )
    async with aio.secure_channel(cluster.router, certificates.credentials("client")) as channel:
        for n in range(8):
            assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"

    stranger_key, stranger_certificate = _stranger(tmp_path)
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


async def test_a_router_that_cannot_trust_a_node_says_that_it_is_unreachable(
    make_cluster: Callable[..., Cluster], certificates: Certificates, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cluster = make_cluster(
        nodes=1,
        flags=_serving(certificates, "node"),
        router_flags=(f"--node-ca={Certificates(elsewhere).ca}",),
    )
    async with aio.insecure_channel(cluster.router) as channel:
        request = session_pb2.RunTurnRequest(session_id="s", agent="echo", turn=turn("hi"))
        with pytest.raises(aio.AioRpcError) as refused:
            await session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=10).read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "lost" in (refused.value.details() or "")
