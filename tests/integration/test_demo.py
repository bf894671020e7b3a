"""The demo: every claim that it prints holds, and nothing is left of it."""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 100.0


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for a unix socket's name, which may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="agentring-") as path:
        yield Path(path)


async def test_every_claim_of_the_demo_holds(short_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "examples.demo"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(short_dir)},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            printed = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed
    assert "✘" not in printed
    assert printed.splitlines()[-1] == "12 of 12 claims held"
    assert os.listdir(short_dir) == []
