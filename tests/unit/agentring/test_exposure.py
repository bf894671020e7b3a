"""What other machines can reach has TLS and asks who calls, and what they cannot is left alone."""

import socket
from pathlib import Path
from typing import Any

import pytest

from agent_node.settings import NodeSettings
from agentring.exposure import Port, check_ports, is_reached
from agentring.settings import EXIT_BAD_SETTINGS, ProcessSettings, load
from harness.certificates import Certificates
from router.settings import RouterSettings

PROGRAM = "prog"

FOUND: dict[str | None, list[str]] = {
    "inside.example": ["127.0.0.1", "::1"],
    "half.example": ["127.0.0.1", "10.0.0.1"],
    "outside.example": ["10.0.0.1"],
}


def refused(capsys: pytest.CaptureFixture[str], settings_class: type[ProcessSettings], *flags: str) -> list[str]:
    """The lines that the process ends with."""
    with pytest.raises(SystemExit) as ended:
        load(settings_class, flags, program=PROGRAM)
    assert ended.value.code == EXIT_BAD_SETTINGS
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str | None, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host not in FOUND:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in FOUND[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_the_loopback_interface_is_reached_by_nobody_else(host: str) -> None:
    assert not is_reached(f"{host}:7700")
    assert not is_reached(f"{host}:0")


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "0", "[::]", "10.0.0.1", "128.0.0.1", "[fe80::1]", "[::ffff:0.0.0.0]", "[::ffff:10.0.0.1]", ""]
)
def test_every_other_address_is_reached(host: str) -> None:
    assert is_reached(f"{host}:7700")


def test_a_socket_of_the_file_system_is_reached_by_nobody_else() -> None:
    assert not is_reached("unix:/run/a:1")


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("host", "reached"),
    [("inside.example", False), ("half.example", True), ("outside.example", True), ("nowhere.example", True)],
)
def test_a_name_is_what_all_its_addresses_are(host: str, reached: bool) -> None:
    assert is_reached(f"{host}:7700") is reached


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("plaintext", [True, False])
@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_each_lack_is_allowed_by_its_own_word_alone(
    host: str, tls: bool, asks: bool, plaintext: bool, anonymous: bool
) -> None:
    port = Port("--listen", f"{host}:1", tls, "--tls-cert", asks, "--auth")
    refused = host == "0.0.0.0" and not ((tls or plaintext) and (asks or anonymous))
    if not refused:
        check_ports([port], plaintext=plaintext, anonymous=anonymous)
        return
    with pytest.raises(ValueError) as error:
        check_ports([port], plaintext=plaintext, anonymous=anonymous)
    words = str(error.value)
    assert words.startswith("--listen 0.0.0.0:1 can be reached from other machines, ")
    lacks_tls = not (tls or plaintext)
    assert ("--tls-cert, or --insecure-plaintext" in words) is lacks_tls
    assert ("--auth, or --insecure-anonymous" in words) is not lacks_tls


@pytest.mark.usefixtures("names")
def test_nothing_is_looked_up_where_nothing_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    check_ports([Port("--listen", "a:1", True, "", True, "")], plaintext=False, anonymous=False)
    check_ports([Port("--listen", "a:1", False, "", False, "")], plaintext=True, anonymous=True)


@pytest.mark.parametrize(
    ("settings_class", "flags"), [(RouterSettings, ()), (NodeSettings, ("--node-id=n1", "--data-dir=/nowhere"))]
)
def test_nothing_that_other_machines_reach_is_open_unless_it_was_said(
    capsys: pytest.CaptureFixture[str], settings_class: type[ProcessSettings], flags: tuple[str, ...], tmp_path: Path
) -> None:
    place = "0.0.0.0:1 can be reached from other machines"
    tls = (f"--tls-cert={tmp_path}/c", f"--tls-key={tmp_path}/k")
    for port in ("--listen", "--metrics-listen"):
        open_port = (*flags, f"{port}=0.0.0.0:1")
        assert refused(capsys, settings_class, *open_port) == [
            f"{PROGRAM}: {port} {place}, in plaintext: give --tls-cert and --tls-key, or --insecure-plaintext"
        ]
        assert load(settings_class, [*open_port, *tls, "--insecure-anonymous"], program=PROGRAM).insecure_anonymous
        insecure = ("--insecure-plaintext", "--insecure-anonymous")
        assert load(settings_class, [*open_port, *insecure], program=PROGRAM).insecure_plaintext
    for more in (tls, ("--insecure-plaintext",)):
        assert refused(capsys, settings_class, *flags, "--listen=0.0.0.0:1", *more) == [
            f"{PROGRAM}: --listen {place}, by anybody: give --auth, or --insecure-anonymous"
        ]
        assert refused(capsys, settings_class, *flags, "--metrics-listen=0.0.0.0:1", *more) == [
            f"{PROGRAM}: --metrics-listen {place}, by anybody: give --metrics-client-ca, or --insecure-anonymous"
        ]


def test_what_asks_who_calls_must_know_its_own_routers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    auth, node = f"--auth={tmp_path}/auth.toml", ("--node-id=n1", "--data-dir=/nowhere")
    (line,) = refused(capsys, RouterSettings, auth)
    assert line.startswith(f"{PROGRAM}: --auth needs --cluster-secret-file, or certificates of routers and nodes")
    files = [f"--{name}={tmp_path}/x" for name in ("tls-cert", "tls-key", "node-ca", "node-cert", "node-key")]
    everything = [auth, "--listen=0.0.0.0:1", *files]
    assert load(RouterSettings, everything, program=PROGRAM).auth is not None
    assert refused(capsys, NodeSettings, *node, *everything) == [
        f"{PROGRAM}: --auth with --listen 0.0.0.0:1 needs --tls-client-ca, by which a node knows its routers"
    ]
    assert load(NodeSettings, [*node, *everything, f"--tls-client-ca={tmp_path}/x"], program=PROGRAM).auth is not None
    on_loopback = [*node, *everything, "--listen=127.0.0.1:1"]
    assert load(NodeSettings, on_loopback, program=PROGRAM).auth is not None


def test_metrics_are_encrypted_where_other_machines_reach_them(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path, "blue")
    cert, key = certificates.issue("n1")
    tls = (f"--tls-cert={cert}", f"--tls-key={key}")
    here, anywhere = "--metrics-listen=127.0.0.1:0", "--metrics-listen=0.0.0.0:0"
    asks = f"--metrics-client-ca={certificates.ca}"
    for encrypted, flags in [
        (False, (here,)),
        (False, (here, *tls)),
        (True, (here, *tls, asks)),
        (True, (anywhere, *tls, asks)),
        (True, (anywhere, *tls, "--insecure-anonymous")),
        (False, (anywhere, "--insecure-plaintext", "--insecure-anonymous")),
    ]:
        assert (load(RouterSettings, flags, program=PROGRAM).metrics_tls() is not None) is encrypted
