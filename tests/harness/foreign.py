"""A client program that is led by its standard input: the name of a case, one a line, is answered by a line of JSON."""

import json
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from harness.tools import ROOT

CASE_S = 60.0
"""How long any case may take."""
STOP_S = 10.0


class ForeignClient:
    """A running client. One that dies or falls silent is started anew for the next case."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str]) -> None:
        self._command = command
        self._log = log
        self._env = env
        self._process = self._start()
        self._unread = b""

    def _start(self) -> subprocess.Popen[bytes]:
        self._unread = b""
        with self._log.open("ab") as stderr:
            return subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                bufsize=0,
            )

    @property
    def cases(self) -> list[str]:
        """The names of the cases that it has."""
        cases: list[str] = self._ask("?")["cases"]
        return cases

    def run(self, case: str) -> None:
        """Runs a case; its failure is the test's."""
        received = self._ask(case)
        assert received["ok"], received["detail"]

    def stop(self) -> None:
        """Ends it, by its pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        self._process.stdout.close()

    def _ask(self, name: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{name}\n".encode())
            line = self._line()
        except BrokenPipeError:
            line = b""
        if not line:
            self._process.kill()
            self.stop()
            self._process = self._start()
            raise AssertionError(f"no answer to {name!r} within {CASE_S} s:\n{self._log.read_text()[-4000:]}")
        fields: dict[str, Any] = json.loads(line)
        assert fields["case"] == name, fields
        return fields

    def _line(self) -> bytes:
        """The next line; empty: none came in time, or the client has ended."""
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + CASE_S
        while b"\n" not in self._unread:
            left_s = max(0.0, deadline_s - time.monotonic())
            readable, _, _ = select.select([self._process.stdout], [], [], left_s)
            part = self._process.stdout.read(1 << 16) if readable else b""
            if not part:
                return b""
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line
