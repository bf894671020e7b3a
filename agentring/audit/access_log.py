"""The access log of a process: calls hand in what they are, and a thread seals and writes it.

Guarantees: to hand in waits for nothing, whatever the disk does; lines are in the order in which they were handed in,
but for refusals, which are counted (refusals.py). What is beyond MAX_WAITING while the disk is full or slow is not
written: the process logs that, counts it in its metrics, and a line of the chain says how many are missing and since
when. Calls go on meanwhile: else who fills the disk stops the cluster.

Does not guarantee: what was handed in less than _GATHER_S before the process is killed may be missing.
"""

import secrets
import threading
import time
from collections import deque
from pathlib import Path

import structlog

from agentring.audit.chain import Chain, Head, Said, key_name
from agentring.audit.entries import Access, Caller, bounded, instant
from agentring.audit.files import ChainFiles
from agentring.audit.refusals import Refusals

MAX_WAITING = 10_000
"""Calls that may wait to be written."""
DEFAULT_FILE_BYTES = 64 << 20
_GATHER_S = 0.05
"""What comes within it is written at once: a write for each call would cost the loop more than the calls do."""
_AGAIN_S = 0.5
"""Between tries to write."""
_SYNC_S = 5.0
"""So often the disk is made to keep what was written."""
_CLOSE_S = 5.0

_log = structlog.get_logger()


class AccessLog:
    """One for a process. Resource handling: `close()`."""

    def __init__(
        self,
        directory: Path,
        key: bytes,
        process: str,
        *,
        max_file_bytes: int = DEFAULT_FILE_BYTES,
        files: ChainFiles | None = None,
        gather_s: float = _GATHER_S,
        again_s: float = _AGAIN_S,
    ) -> None:
        """process: `node/<id>` or `router/<address>`, for people; files: for tests. Raises OSError."""
        self._chain = Chain(key, secrets.token_hex(16))
        self._key_name = key_name(key)
        self._process = process
        self._files = files or ChainFiles(directory, process, self._chain.name)
        self._max_file_bytes = max_file_bytes
        self._gather_s, self._again_s = gather_s, again_s
        self._waiting: deque[Access] = deque()
        self._refusals = Refusals()
        self.lost = 0
        """Calls that will never be in the log."""
        self._lost_said = 0
        self._lost_since_ns = 0
        self.failing = ""
        """Why nothing can be written now; empty: it can."""
        self._head = Head(self._chain.name, process, 0, "")
        self._synced_s = time.monotonic()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._give_up_s = 0.0
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    @property
    def head(self) -> Head:
        """How far the chain is, as far as the disk keeps it."""
        return self._head

    @property
    def waiting(self) -> int:
        """Calls that are not written yet."""
        return len(self._waiting)

    def record(
        self, caller: Caller | None, method: str, target_tenant: str, target: str, peer: str, refused: str = ""
    ) -> None:
        """A call was opened, or refused. caller: None: nobody knows; the others: as Access. One thread alone, the
        event loop's."""
        now_ns = time.time_ns()
        if len(self._waiting) >= MAX_WAITING:
            self._lose(now_ns)
            return
        tenant, subject, credential = (
            (caller.tenant, caller.subject, caller.credential_id) if caller is not None else ("", "", "")
        )
        self._waiting.append(
            # Bounded here: 10,000 of them may wait.
            Access(
                now_ns,
                bounded(tenant),
                bounded(subject),
                bounded(credential),
                bounded(method),
                bounded(target_tenant),
                bounded(target),
                bounded(peer),
                bounded(refused),
            )
        )
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Writes what waits, ends the chain, and waits some seconds for that. Blocks; any thread."""
        self._give_up_s = time.monotonic() + _CLOSE_S
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE_S + self._again_s + 1)
        if self._thread.is_alive():  # the disk holds it up: the file stays its own
            _log.error("access_log_not_closed", waiting=self.waiting, lost=self.lost)

    def _lose(self, now_ns: int) -> None:
        if self.lost == self._lost_said:
            self._lost_since_ns = now_ns
            _log.error("access_log_loses", waiting=len(self._waiting), reason=self.failing or "the disk is slow")
        self.lost += 1

    def _run(self) -> None:
        try:
            self._append([self._opened()])
            while not self._closing.is_set():
                if self._wake.wait(1.0):
                    self._closing.wait(self._gather_s)
                    self._wake.clear()
                self._write_waiting()
                if time.monotonic() - self._synced_s >= _SYNC_S:
                    self._sync()
            self._write_waiting(last=True)
            self._sync(ended=True)
        except _GivenUp:
            _log.error("access_log_given_up", lost=self.lost, waiting=self.waiting, reason=self.failing)
        except Exception:
            self.failing = "FAULT"
            _log.exception("access_log_failed")
        finally:
            self._files.close()

    def _write_waiting(self, *, last: bool = False) -> None:
        now_ns = time.monotonic_ns()
        lines: list[dict[str, Said]] = []
        for _ in range(len(self._waiting)):
            access: Access | None = self._waiting.popleft()
            if access is not None and access.refused:
                access = self._refusals.add(access, now_ns)
            if access is not None:
                lines.append(access.said())
        lines += [access.said() for access in self._refusals.due(now_ns, at_once=last)]
        lost = self.lost
        if lost > self._lost_said:
            since = instant(self._lost_since_ns)
            lines.append({"at": _now(), "event": "lost", "count": lost - self._lost_said, "since": since})
        if last:
            lines.append({"at": _now(), "event": "ended"})
        if lines:
            self._append(lines)
        self._lost_said = lost
        if not last and self._files.size_bytes >= self._max_file_bytes:
            self._sync()
            try:
                self._files.begin_next()
            except OSError as error:
                _log.warning("access_log_not_rotated", error=error.strerror)
            else:
                self._append([self._opened()])

    def _opened(self) -> dict[str, Said]:
        return {
            "at": _now(),
            "event": "opened",
            "chain": self._chain.name,
            "file": self._files.number,
            "process": bounded(self._process),
            "key": self._key_name,
        }

    def _append(self, said: list[dict[str, Said]]) -> None:
        """Until it is written. Raises _GivenUp once the log is being closed and the disk still takes nothing."""
        # Sealed once: what is tried again are the same bytes.
        lines = b"".join([self._chain.seal(line) for line in said])
        while True:
            try:
                self._files.append(lines)
            except OSError as error:
                self._fail(error)
                if self._closing.wait(self._again_s):
                    if time.monotonic() > self._give_up_s:
                        raise _GivenUp from None
                    time.sleep(self._again_s)
                continue
            if self.failing:
                _log.warning("access_log_written_again", lost=self.lost)
                self.failing = ""
            return

    def _sync(self, *, ended: bool = False) -> None:
        try:
            self._files.sync()
        except OSError as error:
            self._fail(error)
            return
        self.failing = ""
        self._synced_s = time.monotonic()
        self._head = Head(self._chain.name, self._process, self._chain.lines, self._chain.mac.hex(), ended)

    def _fail(self, error: OSError) -> None:
        if not self.failing:
            _log.error("access_log_not_written", error=error.strerror)
        self.failing = error.strerror or type(error).__name__


class _GivenUp(Exception):
    """What waits is not written any more."""


def _now() -> str:
    return instant(time.time_ns())
