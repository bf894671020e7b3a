"""The process that children are forked from, so that a child has none of the node's threads, locks and connections.

Guarantees: it is forked before the node has any; it holds nothing of the node's but its stderr and its working
directory; it ends with the node, also where that is killed, and ends every child first; a child ends with it, also
where it is killed itself, and once the node has not said for too long that the child may go on: a node that stands
still (SIGSTOP) has lost its lease meanwhile, and the run is begun on another one. A SIGTERM changes nothing: it may be
sent to each process of a service that is to stop, and it is the node that ends runs. Only children of its own that it
has not reaped are signalled, so never a process that has got a child's number since. Agents are loaded when the first
child is wanted. Used by the node's `__main__`, before anything else, by runs.py and by run.py.
"""

import asyncio
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

_KINDS = {b"k": signal.SIGKILL, b"u": signal.SIGUSR1}
_MESSAGE_BYTES = 64
_PR_SET_PDEATHSIG = 1

Child = Callable[[socket.socket], None]
"""Runs in a child, with its end of the connection to the node; the process ends after it."""


class ForkServer:
    """The node's end. Resource handling: it is there until the process ends."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        """connection: to the process; pid: its."""
        self._connection = connection
        self.pid = pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, and its children with it."""
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)  # it never sends anything
        except BlockingIOError:
            return False
        except OSError:
            return True

    def watch(self, on_end: Callable[[], None]) -> None:
        """Has `on_end` called on the event loop once the process has ended."""
        loop = asyncio.get_running_loop()

        def readable() -> None:
            loop.remove_reader(self._connection)
            on_end()

        loop.add_reader(self._connection, readable)

    def fork(self) -> socket.socket:
        """The connection to a child, which is forked soon. Raises OSError: nobody forks any more."""
        here, there = socket.socketpair()
        try:
            with there:
                socket.send_fds(self._connection, [b"f"], [there.fileno()])
        except OSError:
            here.close()
            raise
        here.setblocking(False)
        return here

    def kill(self, pid: int) -> None:
        """Ends a child."""
        self._signal(b"k", pid)

    def ask_where(self, pid: int) -> None:
        """Has a child write on stderr where its main thread stands."""
        self._signal(b"u", pid)

    def let_run(self, pid: int, for_s: float) -> None:
        """A child may run for so long from now on, and longer where this is called again meanwhile. Before the first
        call there is no limit."""
        with suppress(OSError):
            self._connection.send(f"l{pid} {_now_s() + for_s:.3f}".encode())

    def _signal(self, kind: bytes, pid: int) -> None:
        with suppress(OSError):
            self._connection.send(kind + str(pid).encode())


def start(prepare: Callable[[], Child]) -> ForkServer | None:
    """Forks it. prepare: called in it once, before the first child. None: this system cannot report a process's end
    (pidfd_open, Linux 5.3)."""
    try:
        node = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):
        return None
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            here.close()
            _detach_from_terminal()
            _Forking(there, node, prepare).serve()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    there.close()
    os.close(node)
    here.setblocking(False)
    return ForkServer(here, pid)


class _Forking:
    def __init__(self, connection: socket.socket, node: int, prepare: Callable[[], Child]) -> None:
        self._connection = connection
        self._node = node
        self._prepare = prepare
        self._child: Child | None = None
        self._children: dict[int, int] = {}
        """Processes by the descriptors that report their ends."""
        self._until_s: dict[int, float] = {}
        """How long a process may run, where that is limited."""
        self._pid = os.getpid()

    def serve(self) -> None:
        """Until the node has ended."""
        while True:
            requests = self._connection.fileno()
            wait_s = max(0.0, min(self._until_s.values()) - _now_s()) if self._until_s else None
            ready, _, _ = select.select([requests, self._node, *self._children], [], [], wait_s)
            for fd in [fd for fd in ready if fd in self._children]:
                pid = self._children.pop(fd)
                self._until_s.pop(pid, None)
                os.waitpid(pid, 0)
                os.close(fd)
            if self._node in ready or (requests in ready and not self._answer()):
                break
            if requests not in ready:  # else the node may have allowed more
                self._end_overdue()
        for pid in self._children.values():
            os.kill(pid, signal.SIGKILL)

    def _end_overdue(self) -> None:
        now_s = _now_s()
        for pid in [pid for pid, until_s in self._until_s.items() if until_s <= now_s]:
            del self._until_s[pid]
            os.kill(pid, signal.SIGKILL)

    def _answer(self) -> bool:
        """False: the node has ended."""
        request, fds, _, _ = socket.recv_fds(self._connection, _MESSAGE_BYTES, 1)
        if fds:
            self._fork(fds[0])
            os.close(fds[0])
        elif request.startswith(b"l"):
            pid_text, until_s = request[1:].split()
            if (pid := int(pid_text)) in self._children.values():
                self._until_s[pid] = float(until_s)
        elif (number := _KINDS.get(request[:1])) is not None and (pid := int(request[1:])) in self._children.values():
            os.kill(pid, number)
        return bool(request)

    def _fork(self, fd: int) -> None:
        try:
            if self._child is None:
                self._child = self._prepare()
                gc.freeze()  # what is never written to is shared with the children
            pid = os.fork()
        except Exception:
            traceback.print_exc()  # the connection to the child ends
            return
        if pid == 0:
            status = 1
            try:
                _end_with(self._pid)
                self._connection.close()
                os.close(self._node)
                for each in self._children:
                    os.close(each)
                self._child(socket.socket(fileno=fd))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        self._children[os.pidfd_open(pid)] = pid


def _detach_from_terminal() -> None:
    """Ctrl-C is the node's, and a reader of the node's stdout waits for the node alone."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not ignored, or a SIGTERM could not end what an agent starts either: a program does not inherit our handler.
    signal.signal(signal.SIGTERM, lambda *_: None)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)


def _end_with(parent: int) -> None:
    """This process is killed when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def _now_s() -> float:
    """By a clock that all processes of the machine share, and that does not jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
