"""Ends the process where its event loop is stuck and its lease is over.

The fence is noticed by the event loop: an agent that blocks it for longer than the lease lasts would go on, unfenced,
while another node takes its sessions over. A thread of its own looks every TICK_S whether F has passed, and, from then
on, whether the loop still answers. Where it has missed half a margin of these ticks, which is before etcd may forget
the lease, the process ends: with EXIT_LOOP_STUCK and one line on stderr that says where the loop was, and in whose run.

Guarantees: a process that was stopped (SIGSTOP, a suspended machine) is not ended for that: its ticks stopped as well,
so when it goes on the loop has as long as ever to answer and to notice the fence. Does not guarantee anything against
code that holds the interpreter's lock for ever; the store's compare of epochs stands behind that.

Run by the node's app.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from agentring.cluster.clock import Clock
from agentring.process.owned_loop import OwnedLoop
from agentring.process.self_check import main_thread_location

TICK_S = 0.05
EXIT_LOOP_STUCK = 86
"""Exit status of a node that ended itself, other than that of a crash (negative), a failed start (1) and a signal."""


class Deadline(Protocol):
    """A lease, as far as it is watched: read from the watchdog's thread."""

    @property
    def fence_at_s(self) -> float:
        """F, on the clock."""

    @property
    def margin_s(self) -> float:
        """How long after F etcd may forget the lease."""


class Watchdog:
    """Resource handling: `with`, on the event loop that it watches."""

    def __init__(self, lease: Callable[[], Deadline | None], clock: Clock, end: Callable[[float], None]) -> None:
        """lease: of the incarnation at work, None: there is none; end: ends the process; it gets how many seconds of
        ticks were missed."""
        self._lease = lease
        self._clock = clock
        self._end = end
        self._answered = threading.Event()
        self._missed_s: float | None = None
        """Of ticks, since the loop was asked; None: it was not."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def tick(self, ask: Callable[[Callable[[], None]], object]) -> None:
        """One look. ask: hands the event loop something to call."""
        lease = self._lease()
        if lease is None or self._clock.now_s() < lease.fence_at_s:
            self._missed_s = None
        elif self._missed_s is None or self._answered.is_set():
            self._missed_s = 0.0
            self._answered.clear()
            ask(self._answered.set)
        else:
            self._missed_s += TICK_S
            if self._missed_s >= lease.margin_s / 2:
                self._end(self._missed_s)

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                self.tick(self._loop.call_soon_threadsafe)
            except RuntimeError:
                return  # the loop is closed


def end_process(loop: asyncio.AbstractEventLoop, missed_s: float) -> None:
    """Writes one line on stderr, which names the run that blocks the loop where it is known, and ends the process at
    once, past every handler: none of them can run."""
    line: dict[str, object] = {"event": "loop_stuck_past_its_lease", "level": "error", "pid": os.getpid()}
    if isinstance(loop, OwnedLoop) and (owner := loop.running) is not None:
        line |= owner.log_fields
    line |= {"missed_s": round(missed_s, 3), "stuck_in": main_thread_location()}
    os.write(sys.stderr.fileno(), json.dumps(line).encode() + b"\n")
    os._exit(EXIT_LOOP_STUCK)
