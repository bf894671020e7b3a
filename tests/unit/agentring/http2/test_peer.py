"""Whom a connection's certificate names is known from the first byte on, and the connection does not outlive it."""

import asyncio
import ssl
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agentring.certificates.authority import Authority, make_authority
from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import http2_only
from agentring.certificates.names import Holder
from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from agentring.http2.listener import Listener, bind
from agentring.http2.peer import Peer
from agentring.http2.transport import EXPIRY_NOTICE_S, Flusher
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from harness.http2_frames import frame

MADE = make_authority("blue", timedelta(days=1))


def context(tmp_path: Path, purpose: ssl.Purpose, holder: Holder) -> ssl.SSLContext:
    issued = Authority.load(MADE.certificate, MADE.key).issue(holder, "x1", ["127.0.0.1"], timedelta(hours=1))
    path = tmp_path / f"{holder}.pem"
    path.write_bytes(issued.certificate + issued.key)
    made = http2_only(ssl.create_default_context(purpose, cadata=MADE.certificate.decode()))
    made.load_cert_chain(path)
    if purpose is ssl.Purpose.CLIENT_AUTH:
        made.verify_mode = ssl.CERT_REQUIRED
    return made


async def test_a_connection_knows_its_peer_and_ends_with_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    server = ServerContext("node", Limits(), Budget(1 << 20), loop, lambda stream: None)
    listener = Listener(
        lambda wake: ServiceConnection(server, loop.time(), wake),
        Flusher(loop),
        server.traffic,
        max_connections=3,
        tls=ContextFiles(lambda: context(tmp_path, ssl.Purpose.CLIENT_AUTH, Holder.node)),
    )
    bound, address = bind("127.0.0.1:0", shared=False)
    await listener.open(bound)
    ours = context(tmp_path, ssl.Purpose.SERVER_AUTH, Holder.router)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]), ssl=ours)
    writer.write(frames.PREFACE + frame(frames.SETTINGS))
    await reader.readexactly(frames.HEADER_BYTES)
    (protocol,) = listener.protocols

    def has_ended() -> bool:
        return protocol.connection.ended is not None

    peer = protocol.connection.peer_certificate
    assert isinstance(peer, Peer)
    assert peer.uris == ("spiffe://blue/router/x1",)
    assert 0 < peer.not_after_s - time.time() <= 3600

    listener.tick(loop.time())
    assert not has_ended()
    monkeypatch.setattr(time, "time", lambda: peer.not_after_s - EXPIRY_NOTICE_S)
    listener.tick(loop.time())
    assert b"the certificate ends" in b"".join(protocol.connection.out)
    assert not has_ended()
    monkeypatch.setattr(time, "time", lambda: peer.not_after_s)
    listener.tick(loop.time())
    assert has_ended()
    writer.transport.abort()
    listener.stop_taking()
    await listener.close(0.1)
    bound.close()
