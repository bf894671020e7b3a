"""The directory of a router's own services: short enough, gone with its router, and with the next one at the latest."""

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from router.services.own_socket import own_socket

KILLED = """
import os, signal
from router.services.own_socket import own_socket
with own_socket() as path:
    print(path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR, of a length that any test may change."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def bind(path: str) -> None:
    """Raises OSError where nobody can listen there."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        bound.listen()


def test_it_is_ours_alone_and_gone_afterwards() -> None:
    with own_socket() as path:
        bind(path)
        assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    assert not Path(path).parent.exists()


@pytest.mark.parametrize("length", [20, 67, 68, 100, 200])
def test_a_temporary_directory_of_any_length_will_do(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    long = directory / ("x" * max(1, length - len(str(directory)) - 1))
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    try:
        with own_socket() as path:
            bind(path)
    finally:
        long.rmdir()
        directory.rmdir()


def test_what_a_killed_router_leaves_goes_with_the_next_and_a_living_ones_stays() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip()).parent
    assert left.is_dir()
    with own_socket() as living:
        assert not left.exists()
        with own_socket() as another:
            bind(living)
            bind(another)


def test_what_is_not_a_directory_of_ours_is_left_alone(temporary: Path) -> None:
    outside = temporary / "outside"
    outside.mkdir()
    (temporary / "agentring-router-link").symlink_to(outside)
    (temporary / "agentring-router-file").write_text("kept")
    with own_socket():
        pass
    assert outside.is_dir()
    assert (temporary / "agentring-router-file").read_text() == "kept"
