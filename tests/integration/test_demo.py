"""The demo: every claim that it prints holds, and nothing is left of it."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE_S = 100.0


async def test_every_claim_of_the_demo_holds(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "scripts.showcase"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
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
    assert list(tmp_path.iterdir()) == []
