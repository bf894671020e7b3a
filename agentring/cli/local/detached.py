"""A command that goes on in the background once it is ready, and is in the foreground until then.

Guarantees: until it is ready it prints where this command prints, and Ctrl-C reaches it; where it fails before, this
command ends with its status, and nothing is left. From then on it has no terminal, and what it prints is in its log.
Called by `up`, before there is an event loop or a thread.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agentring.process import private_files

_READY = b"r"


def detach(log: Path) -> Callable[[], None]:
    """Returns in the process in the background alone: what to call there once it is ready, and log's directory is
    there. The process in the foreground ends here."""
    waits_end, says_end = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if pid := os.fork():
        os.close(says_end)
        os._exit(_status(pid, waits_end))
    os.close(waits_end)
    os.setsid()
    _become(os.open(os.devnull, os.O_RDONLY), 0)

    def ready() -> None:
        sys.stdout.flush()
        output = private_files.open_file(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        _become(output, 2)
        with suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(says_end, _READY)
        os.close(says_end)

    return ready


def _become(fd: int, number: int) -> None:
    os.dup2(fd, number)
    os.close(fd)


def _status(pid: int, waits_end: int) -> int:
    """Waits until the process is ready or has ended; the exit status."""
    signal.signal(signal.SIGINT, lambda *_: os.kill(pid, signal.SIGINT))
    if os.read(waits_end, 1) == _READY:
        return 0
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) % 256
