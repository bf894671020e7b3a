"""A channel to a node is to that node alone, whoever else has a certificate of the cluster's authority."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc import aio

from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import http2_only, serving_context
from agentring.certificates.names import Holder, host_name_of, uri_of
from agentring.rpc.channel import PeerCredentials, open_node_channel
from agentring.rpc.server import Server
from harness.certificates import Certificates
from harness.raw import exchange

PATIENCE_S = 20.0
CHECK = "/grpc.health.v1.Health/Check"


@dataclass
class Said:
    """A node, as a record names it."""

    node_id: str
    address: str


async def is_answered_by(node: Said, credentials: PeerCredentials | None) -> bool:
    async with open_node_channel(node, credentials) as channel:
        call = exchange(channel, CHECK, b"")
        with suppress(aio.AioRpcError):
            while await call.read() is not aio.EOF:
                pass
        code = await call.code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE), await call.details()
        return code is grpc.StatusCode.OK


@pytest.mark.parametrize("holder", [Holder.node, Holder.router])
async def test_the_node_that_is_named_answers_and_nobody_else(tmp_path: Path, holder: Holder) -> None:
    certificates = Certificates(tmp_path, "blue")
    cert, key = certificates.issue("n1", holder, hosts=())
    context = ContextFiles(lambda: http2_only(serving_context(cert, key, certificates.ca)))
    server = Server("127.0.0.1:0", {}, first_frame_timeout_s=PATIENCE_S, tls=context)
    await server.start()
    credentials = partial(PeerCredentials, certificates.credentials("r1"))
    try:
        # Where it is reached does not matter: its certificate names no address.
        assert await is_answered_by(Said("n1", server.address), credentials("blue")) is (holder is Holder.node)
        for node_id, cluster in [("n2", "blue"), ("N1", "blue"), ("n1", "green"), ("n1.", "blue"), ("", "blue")]:
            assert not await is_answered_by(Said(node_id, server.address), credentials(cluster))
        assert not await is_answered_by(Said("n1", server.address), None)
    finally:
        await server.stop(0)


def test_no_two_holders_share_a_host_name() -> None:
    uris = [uri_of(*of) for of in [("a", Holder.node, "n"), ("A", Holder.node, "n"), ("a", Holder.router, "n")]]
    names = {host_name_of(uri) for uri in uris}
    assert len(names) == 3
    assert all(name == name.lower() and len(name.partition(".")[0]) <= 63 for name in names)
