"""What a command is asked for and cannot do: one clear line on stderr, exit status 2; nothing is started."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agentring.cli import main as cli
from agentring.cli.local.data_dir import DataDir

PROGRAM = (sys.executable, "-m", "agentring.cli")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["agentring", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_store_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "up", "--store", "sqlite:x", "--data-dir", str(tmp_path / "d")) == 2
    assert (
        capsys.readouterr().err
        == "agentring: --store sqlite:x: it is neither memory: nor sqlite:///PATH nor postgresql://…\n"
    )
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "arguments", [("--nodes", "0"), ("--routers", "0"), ("--port", "65536"), ("--lease-ttl-s", "1"), ("--nodes", "x")]
)
def test_numbers_out_of_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, str]
) -> None:
    assert run(monkeypatch, "up", *arguments, "--data-dir", str(tmp_path / "d")) == 2
    assert arguments[0] in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_data_directory_in_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with DataDir(tmp_path).locked():
        assert run(monkeypatch, "up", "--data-dir", str(tmp_path)) == 2
    assert f"{tmp_path} is in use by another `agentring up` (pid {os.getpid()})" in capsys.readouterr().err


def test_a_data_directory_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, "up", "--data-dir", str(tmp_path / "file" / "d")) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_a_port_in_use_is_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(monkeypatch, "up", "--port", str(port), "--data-dir", str(tmp_path)) == 1
    assert f"port {port} on 127.0.0.1 cannot be listened on: Address already in use" in capsys.readouterr().err
    assert not (tmp_path / "etcd").exists()


def test_a_router_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for command in (("status",), ("ring",), ("locate", "ada"), ("sessions",)):
        assert run(monkeypatch, *command, "--router", address) == 1
        printed = capsys.readouterr().err
        assert printed.startswith("agentring: UNAVAILABLE: ")
        assert printed.endswith(f"(router {address})\n")
        assert printed.count("\n") == 1


def test_the_lock_is_free_again_after_use(tmp_path: Path) -> None:
    for _ in range(2):
        with DataDir(tmp_path).locked():
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("arguments", [("locate", "\udcff"), ("chat", "ada", "--agent", "a\udc80"), ("\udcfe",)])
def test_an_argument_that_is_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == f"agentring: argument {len(arguments)}: it is not UTF-8\n"


def test_a_variable_that_is_no_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AGENTRING_ROUTER", "\udcff:7700")
    assert run(monkeypatch, "status") == 2
    assert capsys.readouterr().err == "agentring: AGENTRING_ROUTER: it is not UTF-8\n"


def test_a_conversation_without_an_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert run(monkeypatch, "chat", "ada", "--router", "127.0.0.1:1") == 2
    assert capsys.readouterr().err == "agentring: standard input is closed: there is nothing to read lines from\n"


@pytest.mark.parametrize("answer", [(), ("--data", "no JSON"), ("yes", "--data", "[1]")])
def test_an_answer_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: tuple[str, ...]
) -> None:
    assert run(monkeypatch, "questions", "answer", "ada", *answer, "--router", "127.0.0.1:1") == 2
    assert capsys.readouterr().err == "agentring: give the answer: words, or --data with a JSON object, or both\n"


BAD_ADDRESSES = ("localhost", "http://127.0.0.1:7700", "127.0.0.1:99999", "127.0.0.1:0", "::1:7700", "a b:1", "")


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize(
    "command", [("status",), ("ring",), ("locate", "ada"), ("sessions",), ("drain", "n1"), ("chat", "ada")]
)
def test_a_router_that_is_no_address_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], address: str
) -> None:
    assert run(monkeypatch, *command, "--router", address) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"agentring: --router: {address!r} is not host:port")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("url", ["127.0.0.1", "http://127.0.0.1", "ftp://127.0.0.1:1", "http://127.0.0.1:99999"])
def test_an_etcd_that_is_no_address_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str
) -> None:
    assert run(monkeypatch, "up", "--etcd", f"http://127.0.0.1:1,{url}", "--data-dir", str(tmp_path / "d")) == 2
    assert capsys.readouterr().err.startswith(f"agentring: --etcd: {url!r} is not host:port")
    assert run(monkeypatch, "admin", "new-generation", "--etcd", url) == 1
    assert capsys.readouterr().err.startswith(f"agentring: {url!r} is not host:port")
    assert not (tmp_path / "d").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full")
def test_a_full_disk_is_told() -> None:
    with open("/dev/full", "wb") as full:
        ran = subprocess.run([*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr == b"agentring: the output cannot be written: No space left on device\n"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_is_opened_where_nothing_is_open_is_no_standard_stream(tmp_path: Path) -> None:
    """Its data directory's lock would be its stdin, and what gRPC logs would go into a connection."""
    show = (
        "import os, sys; print(*(os.readlink(f'/proc/self/fd/{fd}') for fd in range(3)), file=open(sys.argv[1], 'w'))"
    )
    code = f"import typer; from agentring.cli import main; main.app = lambda **_: exec({show!r}, {{}}); main.main()"
    shell = 'exec "$0" -c "$1" "$2" <&- >&- 2>&-'
    subprocess.run(["/bin/sh", "-c", shell, sys.executable, code, str(tmp_path / "seen")], check=True, timeout=60)
    assert (tmp_path / "seen").read_text().split() == ["/dev/null"] * 3
