"""Lets a test break a process of ours from within: put this directory on its PYTHONPATH and its own into BREAK_IN, and
write what is to happen into the file named by its pid there."""

import os
import signal
import threading
import time
from pathlib import Path


def _close_port() -> None:
    import socket

    for name in os.listdir("/proc/self/fd"):
        try:
            one = socket.socket(fileno=int(name))
        except OSError:
            continue
        inet = one.family in (socket.AF_INET, socket.AF_INET6)
        listening = inet and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        one.detach()
        if listening:
            os.close(int(name))


def _exhaust() -> None:
    while True:
        try:
            os.open(os.devnull, os.O_RDONLY)
        except OSError:
            time.sleep(0.02)  # what is closed meanwhile, a check's connection say, is not to be had again


def _break_when_told(order: Path) -> None:
    while not order.exists():
        time.sleep(0.05)
    match order.read_text():
        case "close port":
            _close_port()
        case "exhaust descriptors":
            _exhaust()
        case "block":
            os.kill(os.getpid(), signal.SIGUSR1)


if "BREAK_IN" in os.environ:
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3_600.0))  # in the main thread, where the event loop is
    _order = Path(os.environ["BREAK_IN"]) / str(os.getpid())
    threading.Thread(target=_break_when_told, args=(_order,), daemon=True).start()
