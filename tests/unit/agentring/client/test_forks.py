"""The client in a process that was forked from one which uses it: said at once, instead of a wait for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import os, sys, signal
from agentring.client import ForkedProcess, RetryPolicy, RingUnreachable
from agentring.client.sync import connect

NOWHERE = "127.0.0.1:1"
QUICK = RetryPolicy(reconnect_s=0.1)

def attempt(ring):
    try:
        ring.get_task("key")
    except (ForkedProcess, RingUnreachable) as error:
        return type(error).__name__

def in_child(work):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        os.write(writing, repr(work()).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    return os.read(reading, 100).decode(), status

def fresh():
    with connect(NOWHERE, policy=QUICK) as own:
        return attempt(own)

def inherited_and_left():
    with ring:
        stream = iter(ring.session("ada").watch())
        del stream
        return attempt(ring)

if sys.argv[1] == "unused":
    ring = connect(NOWHERE, policy=QUICK)  # a thread, and no channel yet
    print(in_child(lambda: attempt(ring)), in_child(fresh), attempt(ring))
else:
    ring = connect(NOWHERE, policy=QUICK)
    print(attempt(ring), in_child(inherited_and_left), in_child(fresh), attempt(ring))
ring.close()
"""


def run(tmp_path: Path, case: str) -> str:
    program = tmp_path / "forks.py"
    program.write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, program, case],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_a_process_that_has_connected_cannot_call(tmp_path: Path) -> None:
    forked = "(\"'ForkedProcess'\", 0)"
    assert run(tmp_path, "used") == f"RingUnreachable {forked} {forked} RingUnreachable"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_may_connect_where_its_parent_had_not(tmp_path: Path) -> None:
    printed = run(tmp_path, "unused")
    assert printed == "(\"'ForkedProcess'\", 0) (\"'RingUnreachable'\", 0) RingUnreachable"
