"""Child processes of tests: started, awaited by the line they print, and always ended, by pid."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

READY_S = 30.0
STOP_S = 20.0


class Process:
    """One child. Its stderr goes to a file; `stop` ends it."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def ready_line(self) -> dict[str, Any]:
        """The JSON line that the process prints once it is ready."""
        assert self._popen.stdout is not None
        readable, _, _ = select.select([self._popen.stdout], [], [], READY_S)
        line = self._popen.stdout.readline() if readable else b""
        if not line:
            self.stop(signal.SIGKILL)
            raise AssertionError(f"not ready, status {self.returncode}:\n{self.log.read_text()[-4000:]}")
        fields: dict[str, Any] = json.loads(line)
        return fields

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def freeze(self) -> None:
        """Stops the process, and returns once all of it stands still; SIGCONT lets it go on."""
        self._popen.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def wait(self, timeout_s: float = STOP_S) -> int:
        return self._popen.wait(timeout_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process, by SIGKILL where the signal does not; its exit status."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
            self._popen.send_signal(signal.SIGCONT)  # a stopped process hears nothing else
            try:
                self._popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait(STOP_S)
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return self._popen.returncode


def python(module: str, *flags: str) -> list[str]:
    """The command of one of our processes."""
    return [sys.executable, "-m", module, *flags]


def free_port() -> int:
    """A port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: Process, timeout_s: float = READY_S) -> None:
    """Returns once somebody listens on the port."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.returncode is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on port {port}:\n{process.log.read_text()[-4000:]}")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = READY_S) -> None:
    """Returns once it holds, of something that no event tells."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)
