"""Ctrl-C ends a command also where its tasks or what lies beneath would not end."""

import signal
import subprocess
import sys

_PROGRAM = """
import asyncio, os, sys, time
from agentring.cli.terminal.interrupts import run_interruptible

async def work():
    print("at work", flush=True)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if sys.argv[1] == "swallows":
            await asyncio.Event().wait()
        if sys.argv[1] == "blocks":
            time.sleep(600)
        raise

import typer
try:
    run_interruptible(work(), end_s=0.2)
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


def interrupted(case: str, *, times: int = 1) -> int:
    """The exit status of a program that is interrupted at its work."""
    command = [sys.executable, "-c", _PROGRAM, case]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"at work\n"
            for _ in range(times):
                process.send_signal(signal.SIGINT)
            status = process.wait(30)
            assert process.stderr.read() == b""
            return status
        finally:
            process.kill()


def test_it_ends() -> None:
    assert interrupted("ends") == 130


def test_it_ends_where_its_task_does_not() -> None:
    assert interrupted("swallows") == 130


def test_it_ends_where_its_thread_is_blocked() -> None:
    assert interrupted("blocks") == 130


def test_interrupted_again_it_ends_at_once() -> None:
    for _ in range(5):
        assert interrupted("swallows", times=3) in (130, -signal.SIGINT)
