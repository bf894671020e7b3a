"""One process of the local cluster, as a child of `agentring up`.

Guarantees:
  * The child has a session of its own: the terminal's Ctrl-C reaches `up` alone, which stops its children in order.
  * The kernel ends the child when `up` ends without stopping it, by kill -9 too (Linux: PR_SET_PDEATHSIG).
  * `stop` ends: SIGTERM, a bounded wait, SIGKILL.
  * Its end is the process's own, whatever it has started holds open.
Its stderr is its log; its stdout carries the ready line (process/ready_line.py), or is its log too.
Called by `embedded_etcd` and `local_cluster`.
"""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from agentring.cli.errors import ChildFailed
from agentring.process import private_files
from agentring.process.ready_line import ReadyPipe

_PR_SET_PDEATHSIG = 1
_KILL_DEADLINE_S = 5.0
_LOG_TAIL_LINES = 12
_LOG_TAIL_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start."""

    name: str
    command: tuple[str, ...]
    log_path: Path
    patience_s: float
    """How long it may take to stop before it is killed."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What it gets when `up` ends without stopping it."""
    prints_ready_line: bool = True
    """Whether it prints a ready line."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What it is given beside our own variables: what a command line would show to everybody."""
    umask: int = -1
    """-1: ours."""
    stdin: int = DEVNULL
    """A descriptor, or none."""
    continues_log: bool = False
    """It writes on at the end of the log, as one that follows another process."""


class Child:
    """A started process. Made by `start`; the one who starts it stops it."""

    def __init__(self, spec: ChildSpec, process: Process, ready: ReadyPipe) -> None:
        """For `start` alone."""
        self.spec = spec
        self._process = process
        self._ready = ready

    @classmethod
    async def start(cls, spec: ChildSpec) -> Self:
        """Starts the process, with a fresh log unless it continues one. Raises ChildFailed.

        Cancellation: a process that was already made is killed.
        """
        if not spec.continues_log:
            with suppress(FileNotFoundError):
                os.replace(spec.log_path, spec.log_path.with_suffix(".log.1"))
        ready = ReadyPipe()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if spec.continues_log else os.O_TRUNC)
        with os.fdopen(private_files.open_file(spec.log_path, flags), "wb") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *spec.command,
                    stdin=spec.stdin,
                    stdout=ready.write_end if spec.prints_ready_line else log,
                    stderr=log,
                    env={**os.environ, **spec.env},
                    start_new_session=True,
                    preexec_fn=_before_exec(spec),
                )
            except BaseException as error:
                ready.close()
                if not isinstance(error, OSError):
                    raise
                raise ChildFailed(spec.name, f"could not be started: {error.strerror}", spec.log_path) from error
        ready.handed_over()
        return cls(spec, process, ready)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to have ended."""
        return self._process.returncode is not None

    async def ready_line(self, deadline_s: float) -> dict[str, object]:
        """The JSON object that the process prints once it is ready. Raises ChildFailed. To be called once."""
        try:
            async with asyncio.timeout(deadline_s):
                fields = await self._ready.line(self.ended())
        except TimeoutError as error:
            raise self.failure(f"(pid {self.pid}) was not ready within {deadline_s:g} s") from error
        finally:
            self._ready.close()
        if fields is None:
            raise self.failure()
        return fields

    async def ended(self) -> None:
        """Waits for the process's end, however long it lives, and whatever its own children hold open."""
        await self._process.wait()

    def failure(self, why: str | None = None) -> ChildFailed:
        """The error for a process that failed; without a reason: how it ended."""
        return ChildFailed(self.spec.name, why or self.describe_end(), self.spec.log_path, self._log_tail())

    def describe_end(self) -> str:
        """How the process ended, as what follows its name in a sentence."""
        status = self._process.returncode
        if status is None:
            return f"(pid {self.pid}) runs"
        if status < 0:
            return f"(pid {self.pid}) was killed by {signal.Signals(-status).name}"
        return f"(pid {self.pid}) exited with status {status}"

    async def stop(self, hasten: asyncio.Event) -> None:
        """Ends the process: SIGTERM; SIGKILL when its patience is over or `hasten` is set.

        Raises ChildFailed where the kernel does not end it. Cancellation: it may live on; the kernel ends it
        together with this process.
        """
        self._ready.close()
        if self.has_ended:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(self.spec.patience_s + _KILL_DEADLINE_S), asyncio.TaskGroup() as tasks:
                killer = tasks.create_task(self._kill_when(hasten))
                await self.ended()
                killer.cancel()
        except TimeoutError as error:
            raise self.failure(f"(pid {self.pid}) does not end, not even by SIGKILL") from error

    async def _kill_when(self, hasten: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.spec.patience_s):
                await hasten.wait()
        with suppress(ProcessLookupError):
            self._process.kill()

    def _log_tail(self) -> tuple[str, ...]:
        try:
            with self.spec.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - _LOG_TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError as error:  # somebody has removed it
            return (f"(no log: {error.strerror})",)
        return tuple(lines[-_LOG_TAIL_LINES:])


def _before_exec(spec: ChildSpec) -> Callable[[], None] | None:
    tie = tie_to_parent(spec.orphan_signal)
    if spec.umask < 0:
        return tie

    def prepare() -> None:  # uvloop's subprocesses take no umask
        os.umask(spec.umask)
        if tie is not None:
            tie()

    return prepare


def tie_to_parent(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn`: the child gets the signal when the thread that starts it ends, even by kill -9. Linux alone.

    Everything is looked up before the fork: between fork and exec the child makes two system calls.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
        if os.getppid() != parent:  # it ended before prctl, and the signal with it
            os._exit(1)

    return tie
