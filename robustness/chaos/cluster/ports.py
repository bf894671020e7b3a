"""Ports that stay ours while nobody listens on them: a process that is killed must get its own again.

Taken from below the range that the kernel gives to outgoing connections, any of which may take a port that is free for
a moment.
"""

import random
import socket

_RANGE = range(20_000, 32_000)
_drawn = random.SystemRandom()


def own_port() -> int:
    """A port of loopback that nobody listens on. Raises OSError."""
    for port in _drawn.sample(_RANGE, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")
