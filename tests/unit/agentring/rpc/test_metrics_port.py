"""The metrics are read with a certificate, and whoever is slow or a stranger holds nobody up."""

import socket
import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agentring.certificates.context_files import ContextFiles
from agentring.certificates.contexts import serving_context
from agentring.certificates.names import Holder
from agentring.http2.listener import CannotListen
from agentring.rpc import metrics, metrics_port
from harness.certificates import Certificates

_PATIENCE_S = 10.0


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "ours", "blue")


def serve(ours: Certificates) -> int:
    cert, key = ours.issue("n1", Holder.node)
    make = partial(serving_context, cert, key, ours.ca)
    return metrics.serve(CollectorRegistry(), "127.0.0.1:0", ContextFiles(make, (cert, key, ours.ca)))


def read(port: int, trusted: Certificates, reader: Certificates | None = None) -> int:
    """The answer's status."""
    context = ssl.create_default_context(cafile=trusted.ca)
    if reader is not None:
        context.load_cert_chain(*reader.issue("prometheus"))
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/metrics", timeout=_PATIENCE_S, context=context) as answer:
        return int(answer.status)


def test_who_has_a_certificate_reads_them_and_nobody_else_does(ours: Certificates, tmp_path: Path) -> None:
    port = serve(ours)
    assert read(port, ours, ours) == 200
    for reader in (None, Certificates(tmp_path / "theirs", "blue")):
        with pytest.raises((OSError, urllib.error.URLError)):
            read(port, ours, reader)
    with pytest.raises((OSError, urllib.error.URLError)):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_PATIENCE_S)
    assert read(port, ours, ours) == 200


def test_connections_that_say_nothing_are_bounded_and_keep_no_reader_out(
    ours: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_port, "MAX_CONNECTIONS", 3)
    port = serve(ours)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)]
        assert read(port, ours, ours) == 200
        silent += [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)]
        silent[-1].settimeout(_PATIENCE_S)
        assert silent[-1].recv(1) == b""  # one too many: closed at once


def test_who_is_slow_is_given_up(ours: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "_PATIENCE_S", 0.1)
    with socket.create_connection(("127.0.0.1", serve(ours)), _PATIENCE_S) as slow:
        slow.sendall(b"\x16\x03")  # the beginning of a handshake
        assert slow.recv(1) == b""


def test_a_new_certificate_is_used_without_a_restart(ours: Certificates, tmp_path: Path) -> None:
    port = serve(ours)
    theirs = Certificates(tmp_path / "theirs", "blue")
    both = theirs.ca.read_bytes() + ours.ca.read_bytes()
    ours.issue("n1", Holder.node)
    assert read(port, ours, ours) == 200
    cert, key = theirs.issue("n1", Holder.node)
    (tmp_path / "ours" / "n1.pem").write_bytes(cert.read_bytes())
    assert read(port, ours, ours) == 200  # the key is not yet the certificate's
    (tmp_path / "ours" / "n1.key").write_bytes(key.read_bytes())
    assert read(port, theirs, ours) == 200
    ours.ca.write_bytes(both)
    assert read(port, theirs, theirs) == 200


def test_a_port_that_is_taken_is_an_error(ours: Certificates) -> None:
    port = serve(ours)
    cert, key = ours.issue("n2", Holder.node)
    context = ContextFiles(partial(serving_context, cert, key, ours.ca))
    with pytest.raises(CannotListen, match=str(port)):
        metrics.serve(CollectorRegistry(), f"127.0.0.1:{port}", context)
