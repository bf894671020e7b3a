"""How a process ends."""

import json
import signal
import subprocess
import sys

import pytest

PATIENCE_S = 20.0

PROGRAM = """
import asyncio, sys
from agentring.process import entry as process

async def main(stop, ready):
    left = asyncio.create_task({left})
    await asyncio.sleep(0)
    ready("here:1")
    await stop.wait()
    {end}

async def endless():
    await asyncio.Event().wait()

async def stubborn():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

process.run(main, program="program", log_level="info", cannot_start=(LookupError,), name="n")
"""


@pytest.mark.parametrize("left", ["endless()", "stubborn()"])
@pytest.mark.parametrize(
    ("end", "status", "received"),
    [("pass", 0, ""), ("raise ValueError('of ours')", 1, "ValueError: of ours")],
    ids=["well", "with a fault"],
)
def test_a_process_ends_whatever_its_tasks_do(left: str, end: str, status: int, received: str) -> None:
    program = PROGRAM.format(left=left, end=end)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert (ready["ready"], ready["address"], ready["name"], ready["pid"]) == (True, "here:1", "n", process.pid)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert (process.returncode, received in stderr, "tasks_left" in stderr) == (status, True, left == "stubborn()")


def test_what_makes_a_start_impossible_is_one_line() -> None:
    program = PROGRAM.format(left="endless()", end="pass").replace("ready(", "raise LookupError('why'); ready(")
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (1, "", "program: why\n")
