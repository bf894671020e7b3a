"""What a forked child of ours must not keep: locks, listening ports, clients' connections, the event loop, our signals.

An agent may fork (`multiprocessing`, `os.fork`, a library that does). The child has every descriptor of its parent, so
that, once the parent is killed, its data directory stays locked, its port taken and its connections open for as long
as the child lives. Guarantees: such a child closes what is ours at the moment when it is made; a signal that is meant
for it is not taken for one to its parent (the interpreter hands signals on through a descriptor that both have); and
one that comes back into the parent's event loop ends, instead of serving as a second one of its parent.

Our descriptors are all closed at exec; Python, gRPC, libuv and SQLite open them so. Does not guarantee anything for a
child that is forked past the interpreter, by C code that does not call its hooks. Used by those who open such a
descriptor, and by entry.py.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

EXIT_FORKED_CHILD = 88
"""Exit status of a forked child that came back into its parent's event loop."""

_fds: dict[int, tuple[int, int]] = {}
"""Device and inode by descriptor: an agent may have closed ours and opened its own under the number."""
_ports: set[int] = set()
_loops: list[asyncio.AbstractEventLoop] = []
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_mask: list[set[signal.Signals | int]] = []
"""What was blocked before the fork that goes on."""


def close_in_children(fd: int) -> None:
    """A forked child closes this descriptor."""
    found = os.fstat(fd)
    _fds[fd] = (found.st_dev, found.st_ino)


def forget(fd: int) -> None:
    """To be called when such a descriptor is closed."""
    _fds.pop(fd, None)


def close_port_in_children(port: int) -> None:
    """A forked child closes the socket that listens on this port, and the connections that were accepted by it. port:
    never 0, which is that of every socket that was not bound."""
    assert port, "the port that was taken, not the one that was asked for"
    _ports.add(port)


def end_children_in(loop: asyncio.AbstractEventLoop) -> None:
    """A forked child that comes back into this event loop ends, with EXIT_FORKED_CHILD."""
    _loops.append(loop)


def _before() -> None:
    # Until the child's handlers are its own, a signal for it would be handed on to its parent.
    if _loops:
        _mask.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)))


def _in_parent() -> None:
    if _mask:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask.pop())


def _in_child() -> None:
    for fd, opened in _fds.items():
        with suppress(OSError):
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) == opened:
                os.close(fd)
    _fds.clear()
    if _ports:
        _close_sockets(_ports)
        _ports.clear()
    if _loops:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for loop in _loops:
            with suppress(RuntimeError):
                loop.call_soon(_end_child)
        _loops.clear()
    _in_parent()


def _close_sockets(ports: set[int]) -> None:
    with suppress(OSError):  # no /proc: then the kernel is none where this matters
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:") and _local_port(int(name)) in ports:
                    os.close(int(name))


def _local_port(fd: int) -> int:
    one = socket.socket(fileno=fd)
    try:
        if one.family not in (socket.AF_INET, socket.AF_INET6):
            return 0
        port: int = one.getsockname()[1]
        return port
    finally:
        one.detach()


def _end_child() -> None:
    os.write(2, b"a forked child came back into the event loop of its parent, and ends\n")
    sys.stderr.flush()
    os._exit(EXIT_FORKED_CHILD)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
