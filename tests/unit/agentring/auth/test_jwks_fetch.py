"""Keys come from the address that was asked, whole, in time and not too large, or not at all."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agentring.auth import jwks_fetch
from agentring.auth.jwks import JwksUnusable
from agentring.auth.jwks_fetch import fetch_jwks

PUBLIC = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
GOOD = json.dumps({"keys": [{**PUBLIC, "kid": "k1"}]}).encode()
Handler = Callable[[socket.socket], None]


@contextmanager
def serving(handle: Handler) -> Iterator[tuple[str, list[bytes]]]:
    """A server's URL, and the requests that it got."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(10)
                    try:
                        got.append(client.recv(65_536))
                        handle(client)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/keys?of=1", got
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive(), "the connection was not closed"


def answer(
    client: socket.socket, body: bytes, status: str = "200 OK", more: str = "", length: int | None = None
) -> None:
    said = len(body) if length is None else length
    client.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {said}\r\n{more}\r\n".encode() + body)


def drip(client: socket.socket) -> None:
    """Each byte in time, and all of them not."""
    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        client.sendall(b" ")
        time.sleep(0.02)


def drip_head(client: socket.socket) -> None:
    while True:
        client.sendall(b"x")
        time.sleep(0.02)


def drip_whole(client: socket.socket) -> None:
    """What has come is whole at each time, so that the end of the connection would be its end."""
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD)
    while True:
        client.sendall(b" ")
        time.sleep(0.02)


def drip_handshake(client: socket.socket) -> None:
    client.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x30\x00")
    while True:
        client.sendall(b"x")
        time.sleep(0.02)


def chunks(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        client.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


async def test_keys_are_fetched_by_one_request_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(partial(answer, body=GOOD)) as (url, got):
        assert ("k1", "ES256") in (await fetch_jwks(url)).keys
    assert len(got) == 1
    assert got[0].startswith(b"GET /keys?of=1 HTTP/1.1\r\n")


BROKEN: dict[str, tuple[Handler, str]] = {
    "moved": (partial(answer, body=GOOD, status="302 Found", more="location: /good\r\n"), "redirects"),
    "other status": (partial(answer, body=GOOD, status="201 Created"), "not 200"),
    "no content": (partial(answer, body=b"", status="204 No Content"), "not 200"),
    "huge": (partial(answer, body=b" " * (2 << 20)), "1 MiB"),
    "without an end": (chunks, "1 MiB"),
    "broken off": (partial(answer, body=GOOD, length=len(GOOD) + 1), "broke off"),
    "cut in chunks": (
        lambda client: client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"),
        "cannot be fetched",
    ),
    "silence": (lambda client: None, "cannot be fetched"),
    "drips": (drip, "did not come within"),
    "drips its head": (drip_head, "did not come within"),
    "drips without a length": (drip_whole, "did not come within"),
    "garbage": (lambda client: client.sendall(b"\x00\xff" * 100), "cannot be fetched"),
    "no JSON": (partial(answer, body=b"<html>secret</html>"), "no JSON"),
    "no UTF-8": (partial(answer, body=b"\xff\xfe\xff"), "no JSON"),
    "deep": (partial(answer, body=b"[" * 100_000), "no JSON|keys"),
    "no keys": (partial(answer, body=b'{"keys": []}'), "none of its keys"),
    "a secret": (partial(answer, body=b'{"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0"}]}'), "secret or private"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_not_a_whole_answer_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_fetch, "DEADLINE_S", 0.3)
    handle, said = BROKEN[name]
    with serving(handle) as (url, got), pytest.raises(JwksUnusable, match=said) as caught:
        await fetch_jwks(url)
    assert len(got) == 1
    assert "secret<" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


async def test_a_handshake_that_drips_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_fetch, "DEADLINE_S", 0.3)
    with serving(drip_handshake) as (url, _), pytest.raises(JwksUnusable, match="did not come within"):
        await fetch_jwks(url.replace("http:", "https:"))


async def test_who_does_not_answer_or_has_no_certificate_is_not_believed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(JwksUnusable, match="Connection refused"):
        await fetch_jwks(f"http://127.0.0.1:{port}/")
    with serving(partial(answer, body=GOOD)) as (url, _), pytest.raises(JwksUnusable, match="SSL"):
        await fetch_jwks(url.replace("http:", "https:"))
