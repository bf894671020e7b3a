"""How many file descriptors a process may have: what it was allowed, and what it needs.

A limit that is too low is said at the start, with the number and the way to raise it, instead of coming back as
connections that fail. Within what it may, a process raises its limit itself. Called by the node's and the router's app.

And which three are never anything else than standard input, output and error. Called by every process as it starts.
"""

import os
import resource

LEAST = 128
"""For the store, etcd, the event loop and a few connections."""
RESERVE = 256
"""What a router needs beside its clients' connections, where it may have as many."""
_STANDARD_FDS = (0, 1, 2)


class TooFewDescriptors(OSError):
    """The process cannot work with so few."""

    def __init__(self, limit: int) -> None:
        """limit: how many it may have at most."""
        super().__init__(f"too few file descriptors: ulimit -n is {limit}, and {LEAST} are needed at least")


def raise_limit(wanted: int) -> int:
    """Raises the limit to what is wanted, or as far as it goes; the limit from now on. Raises TooFewDescriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < LEAST:
        raise TooFewDescriptors(soft)
    return soft


def connection_capacity(limit: int) -> int:
    """How many of them may be clients' connections."""
    return limit - min(RESERVE, limit // 2)


def fill_standard_fds() -> None:
    """A process may be started with stdin, stdout or stderr closed: the next files and connections that it opens would
    be taken for them, by libraries that log to 2 past Python."""
    while (fd := os.open(os.devnull, os.O_RDWR)) in _STANDARD_FDS:
        os.set_inheritable(fd, True)
    os.close(fd)
