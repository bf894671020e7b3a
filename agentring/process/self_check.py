"""A process asks itself, from outside, whether it still serves; where it does not, it ends.

A process can live on, keep its lease and be ACTIVE for everybody, while its port is closed, nothing takes connections,
its event loop stands still, its server has shut down or no descriptor is left. So a thread of its own makes a health
check over a new connection to the process's own port (rpc/probe.py), every `interval_s`. Where no check has succeeded
for `patience_s`, or nobody listens on the port in REFUSALS checks, it reports the fault: the process gives up what it
holds and ends, with EXIT_NOT_SERVING and a line on stderr. Where the event loop does not do so within `grace_s`, the
thread ends the process itself, and says where the event loop stood.

Guarantees: a process that was loaded, stopped (SIGSTOP) or suspended is not ended for that: time counts as checks that
failed one after the other, each for its time-out at most, and there must be MIN_FAILURES of them. A slow process has a
third of the patience for each answer. A process that never could reach itself (a firewall, a namespace without
loopback) is not ended either; that is logged. Does not guarantee anything against code that holds the interpreter's
lock for ever.

Used by the node's and the router's app.
"""

import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import structlog

from agentring.rpc.probe import Probe, ProbeFailed

EXIT_NOT_SERVING = 87
"""Exit status of a process that ended since it did not serve any more."""
REFUSALS = 3
MIN_FAILURES = 3
_RETRY_S = 1.0

_log = structlog.get_logger()


class CannotServe(Exception):
    """The process found that it does not serve any more, and ends."""


class Fault:
    """That the process does not serve, and why. Of the event loop that makes it."""

    def __init__(self) -> None:
        """There is none."""
        self.found = asyncio.Event()
        self.why = ""

    def report(self, why: str) -> None:
        """The first one stays."""
        if not self.found.is_set():
            _log.error("does_not_serve", why=why)
            self.why = why
            self.found.set()

    def check(self) -> None:
        """Raises CannotServe if there is one."""
        if self.found.is_set():
            raise CannotServe(self.why)


class Verdict:
    """What the checks so far amount to."""

    def __init__(self, patience_s: float) -> None:
        """Nothing was checked."""
        self._patience_s = patience_s
        self._succeeded = False
        self._failures = 0
        self._refusals = 0
        self._failing_s = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last check failed."""
        return self._failures > 0

    def succeeded(self) -> None:
        """A check was answered."""
        self._succeeded = True
        self._failures = self._refusals = 0
        self._failing_s = 0.0

    def failed(self, counted_s: float, *, refused: bool) -> bool:
        """A check was not; whether the process is to end. counted_s: how much time it stands for."""
        self._failures += 1
        self._refusals = self._refusals + 1 if refused else 0
        self._failing_s += counted_s
        if not self._succeeded or self._failures < MIN_FAILURES:
            return False
        return self._refusals >= REFUSALS or self._failing_s >= self._patience_s


class SelfCheck:
    """Resource handling: `with`, on the event loop that serves, from when it serves until it stops. A check that is
    under way then is not waited for: it is that event loop which would have to answer it."""

    def __init__(
        self,
        probe: Probe,
        fault: Fault,
        *,
        interval_s: float,
        patience_s: float,
        grace_s: float,
        end: Callable[[str], None] | None = None,
    ) -> None:
        """interval_s: 0: nothing is checked; grace_s: how long the event loop may take to end the process; end: ends it
        where the event loop has not, with the reason."""
        self._probe = probe
        self._fault = fault
        self._interval_s = interval_s
        self._timeout_s = patience_s / MIN_FAILURES
        self._grace_s = grace_s
        self._end_process = end or end_process
        self._verdict = Verdict(patience_s)
        self._checked = asyncio.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-check", daemon=True)

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if self._interval_s:
            self._thread.start()
        else:
            self._checked.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()

    async def first(self) -> None:
        """Returns once the first check was made, whatever came of it."""
        await self._checked.wait()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            why = self._check()
            with suppress(RuntimeError):  # the loop is closed: the process is ending
                self._loop.call_soon_threadsafe(self._checked.set)
            pause_s = min(self._interval_s, _RETRY_S) if self._verdict.failing else self._interval_s
            if why is not None and not self._stopping.is_set():
                self._end(why)
                return

    def _check(self) -> str | None:
        """Why the process must end, if it must."""
        began_s = time.monotonic()
        try:
            self._probe(self._timeout_s)
        except ProbeFailed as failed:
            if self._stopping.is_set():
                return None  # it is about to end: that nobody answers is no news
            was_failing = self._verdict.failing
            counted_s = min(time.monotonic() - began_s, self._timeout_s) + min(self._interval_s, _RETRY_S)
            over = self._verdict.failed(counted_s, refused=failed.refused)
            if not was_failing:
                _log.warning("self_check_failed", why=failed.why, descriptors=_descriptors())
            return failed.why if over else None
        if self._verdict.failing:
            _log.info("self_check_answered")
        self._verdict.succeeded()
        return None

    def _end(self, why: str) -> None:
        try:
            self._loop.call_soon_threadsafe(self._fault.report, why)
        except RuntimeError:
            return  # the loop is closed: the process is ending
        time.sleep(self._grace_s)
        self._end_process(why)


def end_process(why: str) -> None:
    """Writes one line on stderr and ends the process at once, past every handler: none of them may be able to run."""
    line = {"event": "ended_not_serving", "level": "error", "pid": os.getpid(), "why": why}
    line |= {"descriptors": _descriptors(), "stands_in": main_thread_location()}
    os.write(2, json.dumps(line).encode() + b"\n")
    os._exit(EXIT_NOT_SERVING)


def main_thread_location() -> str:
    """Where the main thread stands, innermost first; locations in the code, never values."""
    locations: list[str] = []
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and len(locations) < 8:
        locations.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(locations)


def _descriptors() -> str:
    """How many there are and may be."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return f"{len(os.listdir('/proc/self/fd'))} of {limit}"
    except OSError:  # not even one to count them
        return f"all of {limit}"


def all_of(*probes: Callable[[float], None]) -> Probe:
    """Probes that must all succeed."""

    def check(timeout_s: float) -> None:
        for probe in probes:
            probe(timeout_s)

    return check
