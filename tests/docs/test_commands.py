"""What the pages tell a reader to type does what they say, in a directory like his, on a cluster of `agentring up`."""

import asyncio
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agentring.cli.local.ports import LOOPBACK, free_ports
from harness.pages import ROOT, Block, blocks, pages
from harness.tools import require_tool
from harness.up_process import running_up

_DEADLINE_S = 60.0
_DEFAULT_ROUTER = "127.0.0.1:7700"
_DEFAULT_ETCD = "http://127.0.0.1:2379"
_ANOTHER_ROUTER = "127.0.0.1:7743"
"""One that a page starts itself."""
_LINKED = ("protos", "examples", "scripts", "README.md")
"""What a reader's clone has, as far as commands use it."""


def _runnable(page: Path) -> bool:
    return any("run" in block.marks for block in blocks(page))


_RUNNABLE = [path.relative_to(ROOT).as_posix() for path in pages() if _runnable(path)]


def test_readme_has_commands_that_are_tried() -> None:
    assert "README.md" in _RUNNABLE


@pytest.mark.parametrize("name", _RUNNABLE)
async def test_every_command_of_the_page_runs(name: str, tmp_path: Path) -> None:
    page = list(blocks(ROOT / name))
    if any("grpcurl" in block.text for block in page if "run" in block.marks):
        require_tool("grpcurl")
    _be_a_clone(tmp_path)
    async with running_up(tmp_path / ".agentring", "--lease-ttl-s=3", "--nodes=2") as up, AsyncExitStack() as stack:
        await up.until_line("ready")
        places = {
            _DEFAULT_ROUTER: up.cluster["router"][0],
            _DEFAULT_ETCD: up.cluster["etcd"][0],
            _ANOTHER_ROUTER: f"{LOOPBACK}:{free_ports(1)[0]}",
        }
        printed = ""
        for block in page:
            text = block.text
            for said, place in places.items():
                text = text.replace(said, place)
            if block.file_name is not None:
                (tmp_path / block.file_name).write_text(text)
            if "background" in block.marks:
                await stack.enter_async_context(_started(block, text, tmp_path))
            elif "run" in block.marks:
                printed = await _run(block, text, tmp_path)
            elif "output" in block.marks:
                assert re.search(_pattern(block.text), printed), f"{block} is not what was printed:\n{printed}"


def test_an_output_block_must_match_what_was_printed() -> None:
    assert re.search(_pattern("node … owns it\n…\nlast\n"), "x\nnode n1 owns it\na\nb\nlast\n")
    assert not re.search(_pattern("node n2 owns it\n"), "node n1 owns it\n")


def _be_a_clone(directory: Path) -> None:
    for name in _LINKED:
        (directory / name).symlink_to(ROOT / name)
    programs = directory / ".venv" / "bin"
    programs.mkdir(parents=True)
    for program in ("python", "agentring"):
        (programs / program).write_text(f'#!/bin/sh\nexec {Path(sys.executable).with_name(program)} "$@"\n')
        (programs / program).chmod(0o755)


async def _start(text: str, directory: Path) -> Process:
    bash = shutil.which("bash")
    assert bash is not None
    tools = os.pathsep.join((str(ROOT / ".tools" / "bin"), os.environ["PATH"]))
    return await asyncio.create_subprocess_exec(
        *(bash, "-euo", "pipefail", "-c", text),
        cwd=directory,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "PATH": tools},
        start_new_session=True,
    )


async def _run(block: Block, text: str, directory: Path) -> str:
    process = await _start(text, directory)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            printed = (await process.communicate())[0].decode()
    except TimeoutError:
        pytest.fail(f"{block} did not end within {_DEADLINE_S} s")
    finally:
        _end(process)
    assert process.returncode == 0, f"{block} ended with {process.returncode}:\n{printed}"
    return printed


@asynccontextmanager
async def _started(block: Block, text: str, directory: Path) -> AsyncIterator[None]:
    """A command that goes on beside the following ones, from its ready line on."""
    process = await _start(text, directory)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while not (lines and '"ready": true' in lines[-1]):
                line = (await process.stdout.readline()).decode()
                assert line, f"{block} ended:\n{''.join(lines)}"
                lines.append(line)
        yield
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await process.communicate()
        finally:
            _end(process)


def _end(process: Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)


def _pattern(expected: str) -> str:
    """…: anything within a line, and on a line of its own any lines."""
    parts = []
    for line in expected.splitlines():
        parts.append(r"(.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*").rstrip() + r"\s*\n")
    return "".join(parts)
