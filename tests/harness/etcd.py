"""A real etcd for tests, the same program that `agentring up` would start."""

import asyncio
import signal
from pathlib import Path

from agentring.cli.embedded_etcd import EtcdProgram, ask_version, etcd_command, find_program
from harness.processes import Process, free_port, wait_for_port


class EtcdProcess:
    """One member on free loopback ports."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port, self._peer_port = free_port(), free_port()
        path = find_program()
        program = EtcdProgram(path, asyncio.run(ask_version(path)))
        self._command = list(etcd_command(program, directory / "etcd", self.url, f"http://127.0.0.1:{self._peer_port}"))
        self.process = self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def restart(self) -> None:
        """Starts it again on the same data, after it was stopped."""
        self.process = self._start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.stop(number)

    def _start(self) -> Process:
        process = Process(self._command, self._directory / "etcd.log")
        wait_for_port(self._port, process)
        return process
