"""Addresses and ports of this machine, for the processes that `agentring up` starts.

A port found free here may be taken before its process listens: who uses `free_ports` tries again.
"""

import os
import socket

from agentring.cli.errors import PortUnavailable

LOOPBACK = "127.0.0.1"
_LARGEST_PORT = 65_535


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback interface that nobody listens on now."""
    held = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def check_listenable(host: str, port: int) -> None:
    """Raises PortUnavailable where a server on the port would fail now."""
    if not 0 <= port <= _LARGEST_PORT:
        raise PortUnavailable(host, port, "there is no such port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        # (strerror of create_server's own error repeats the address)
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else "it is no address of this machine"
        raise PortUnavailable(host, port, why) from error
