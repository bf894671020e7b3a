"""A real etcd for tests, the same program that `agentring up` would start."""

import asyncio
import json
import shutil
import signal
import ssl
import time
import urllib.request
from pathlib import Path

from agentring.cli.local.embedded_etcd import EtcdProgram, ask_version, etcd_command, find_program
from harness.processes import READY_S, Process, free_port, wait_for_port


class EtcdProcess:
    """One member on free loopback ports."""

    def __init__(self, directory: Path, *flags: str, tls: ssl.SSLContext | None = None) -> None:
        """flags: beside those that `agentring up` would give it; tls: how it is asked where flags name its
        certificate."""
        self._directory = directory
        self._tls = tls
        self._port, self._peer_port = free_port(), free_port()
        path = find_program()
        program = EtcdProgram(path, asyncio.run(ask_version(path)))
        command = etcd_command(program, self._data, self.url, f"http://127.0.0.1:{self._peer_port}")
        self._command = [*command, *flags]
        self.process = self._start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def restart(self) -> None:
        """Starts it again on the same data, after it was stopped."""
        self.process = self._start()

    @property
    def _data(self) -> Path:
        return self._directory / "etcd"

    def wipe(self) -> None:
        """Loses all its data, while it is stopped."""
        shutil.rmtree(self._data)

    def back_up(self) -> None:
        """Keeps a copy of its data, while it is stopped."""
        shutil.copytree(self._data, self._directory / "backup")

    def restore(self) -> None:
        """Has the data of the backup again, while it is stopped."""
        self.wipe()
        shutil.copytree(self._directory / "backup", self._data)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.stop(number)

    def _start(self) -> Process:
        process = Process(self._command, self._directory / "etcd.log")
        wait_for_port(self._port, process)
        self._wait_for_leader(process)
        return process

    def _wait_for_leader(self, process: Process) -> None:
        """Listening is not yet serving: an election comes first."""
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=READY_S, context=self._tls) as answer:
                    if json.load(answer)["health"] == "true":
                        return
            except OSError:
                pass  # 503 until there is a leader
            time.sleep(0.02)
        raise AssertionError(f"etcd elects no leader:\n{process.log.read_text()[-4000:]}")
