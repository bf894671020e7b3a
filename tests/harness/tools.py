"""Programs that are not of Python: found where scripts/test puts them, or on PATH.

Where one is missing a test is skipped and says which; with CI=true it fails, so that nothing is left untried unnoticed,
but for those that come with the operating system's packages, which cannot be installed everywhere.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
NPM = TOOLS / "npm"
BUF = "@bufbuild/buf@1.75.0"

INSTALL_S = 500.0

_OF_THE_SYSTEM = frozenset({"cargo", "curl", "g++", "grpc_cpp_plugin", "h2load", "java", "mvn", "pkg-config", "protoc"})


def require_tool(name: str) -> Path:
    """The program; skips the test where there is none, or fails it in CI if it could have been installed."""
    if (found := _find(name)) is not None:
        return found
    if os.environ.get("CI") == "true" and name not in _OF_THE_SYSTEM:
        pytest.fail(f"{name} is not installed, and in CI nothing may be skipped")
    pytest.skip(f"{name} is not installed")


def require_library(name: str) -> None:
    """Skips the test where pkg-config does not know a library; also in CI, since it is of the system's packages."""
    found = subprocess.run([require_tool("pkg-config"), "--exists", name], check=False)
    if found.returncode != 0:
        pytest.skip(f"the library {name} is not installed")


def require_buf() -> Path:
    """buf, installed by npm where it is not there yet."""
    if (found := _find("buf")) is not None:
        return found
    npm = require_tool("npm")
    with locked("npm"):
        run([npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", NPM, BUF], cwd=TOOLS)
    return require_tool("buf")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time works on what this names."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(
    command: list[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None, timeout_s: float = INSTALL_S
) -> str:
    """Runs a program to its end and returns what it printed; its failure is the test's, with all that it said."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def _find(name: str) -> Path | None:
    places = (str(TOOLS / "bin"), str(NPM / "node_modules" / ".bin"), os.environ.get("PATH", ""))
    found = shutil.which(name, path=os.pathsep.join(places))
    return Path(found) if found else None
