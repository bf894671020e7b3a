"""What a child that a process of ours forks does not keep of it, however it forks."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agent_node.lifecycle.data_dir import DataDir, DataDirInUse
from agentring.process import forks
from agentring.process.forks import EXIT_FORKED_CHILD
from agentring.rpc import metrics
from harness.processes import wait_until

PATIENCE_S = 20.0
PROGRAM = """
import asyncio, json, multiprocessing, os, signal, socket, subprocess, sys, time
from pathlib import Path
from agent_node.lifecycle.data_dir import DataDir
from agentring.process import forks
from agentring.process import entry as process

def fork(work):
    if not (pid := os.fork()):
        work()
        os._exit(0)
    return pid

def multi(work, method):
    child = multiprocessing.get_context(method).Process(target=work)
    child.start()
    return child.pid

def long():
    time.sleep(60)

async def main(stop, ready):
    path = sys.argv[1]
    with DataDir(Path(path)), socket.create_server(("127.0.0.1", 0)) as port, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        forks.close_port_in_children(port.getsockname()[1])
        client = socket.create_connection(port.getsockname())
        accepted, _ = port.accept()
        child = {make}
        print("told to the log")
        ready(json.dumps([port.getsockname()[1], child, client.getsockname()[1]]))
        await stop.wait()

process.run(main, program="program", log_level="info", cannot_start=())
"""
HOW = {
    "os.fork": "fork(long)",
    "multiprocessing, fork": "multi(long, 'fork')",
    "os.forkpty": "(lambda made: made[0] or long())(os.forkpty())",
    "subprocess, descriptors left open": "subprocess.Popen(['sleep', '60'], close_fds=False).pid",
    "in a thread": "await asyncio.to_thread(fork, long)",
}


@contextmanager
def started(tmp_path: Path, make: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A process that has made a child; it and the child are ended."""
    log = (tmp_path / "log").open("wb")
    command = [sys.executable, "-c", PROGRAM.format(make=make), str(tmp_path / "data")]
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        child = 0
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (tmp_path / "log").read_text()
            port, child, client = json.loads(json.loads(line)["address"])
            yield process, {"port": port, "child": child, "client": client}
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.kill(child or process.pid, signal.SIGKILL)


@pytest.mark.parametrize("how", HOW)
def test_a_child_that_outlives_it_keeps_neither_lock_nor_port_nor_connection_nor_stdout(
    tmp_path: Path, how: str
) -> None:
    with started(tmp_path, HOW[how]) as (process, received):
        process.kill()
        process.wait(PATIENCE_S)
        wait_until(lambda: is_free(tmp_path / "data", received["port"]), "the child keeps the lock or the port")
        assert Path(f"/proc/{received['child']}").exists()
        assert process.stdout is not None
        assert process.stdout.read() == b""  # its end has come: nobody has it any more


def is_free(data: Path, port: int) -> bool:
    """Whether another process may use both."""
    try:
        with DataDir(data), socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # which a listener that lives overrules
            again.bind(("127.0.0.1", port))
            again.listen()
    except (DataDirInUse, OSError):
        return False
    return True


def test_a_signal_for_a_forked_child_is_none_for_its_parent(tmp_path: Path) -> None:
    with started(tmp_path, HOW["multiprocessing, fork"]) as (process, received):
        os.kill(received["child"], signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        stat = Path(f"/proc/{received['child']}/stat")
        assert stat.read_text().rpartition(")")[2].split()[0] == "Z"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_a_forked_child_that_comes_back_into_the_event_loop_ends(tmp_path: Path) -> None:
    with started(tmp_path, "os.fork() or (await asyncio.sleep(3600))") as (process, received):
        ended = os.pidfd_open(received["child"])
        assert select.select([ended], [], [], PATIENCE_S)[0]
        os.close(ended)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert "a forked child came back into the event loop" in (tmp_path / "log").read_text()
    assert EXIT_FORKED_CHILD == 88


def test_what_is_printed_goes_to_the_log_in_its_order_and_in_any_language(tmp_path: Path) -> None:
    with started(tmp_path, "print('h\\N{LATIN SMALL LETTER E WITH ACUTE}llo', flush=False) or fork(long)"):
        printed = (tmp_path / "log").read_text()
    assert printed.splitlines()[0] in ("héllo", r"h\xe9llo")
    assert printed.splitlines()[1] == "told to the log"


def test_a_port_is_the_one_that_was_taken() -> None:
    """0 is that of every socket which was never bound: a child would close its own pipes."""
    with pytest.raises(AssertionError, match="that was taken"):
        forks.close_port_in_children(0)
    registry = CollectorRegistry()
    port = metrics.serve(registry, "127.0.0.1:0")
    assert port
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S):
        pass
