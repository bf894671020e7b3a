"""`python -m agent_node.standby`, with a node's flags: a node that has imported everything and waits to be needed.

Guarantees: until it is told to serve it takes nothing of the node that it follows (port, directory, lease), so that one
goes on; that its agents can be loaded is said before. It ends when whoever has started it ends. Its stdin is the socket
over which it is told, a line of JSON each: `preload`, names of modules to import ahead, any number of times; `load`,
which it answers with what it has loaded and from which files; `serve`. Started by `agentring dev`.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

import structlog

from agent_node import __main__ as node
from agent_node.agents.registry import LoadedAgents, load_agents
from agent_node.settings import NodeSettings
from agentring import log
from agentring.process import forks

_log = structlog.get_logger()

_READ_BYTES = 1 << 16


def main() -> None:
    """Waits, and is the node from then on."""
    control = _take_stdin()
    log.configure("info")
    rest = b""
    while True:
        while b"\n" not in rest:
            if not (piece := control.recv(_READ_BYTES)):
                return
            rest += piece
        line, _, rest = rest.partition(b"\n")
        command = json.loads(line)
        if "preload" not in command:
            break
        _preload(command["preload"])
        _log.info("standing_by")

    async def load(settings: NodeSettings) -> LoadedAgents | None:
        before = set(sys.modules)
        loaded = load_agents(settings.agent, settings.agent_settings)
        said = {"left_out": loaded.left_out, "files": _files(set(sys.modules) - before)}
        loop = asyncio.get_running_loop()
        control.setblocking(False)
        await loop.sock_sendall(control, json.dumps(said).encode() + b"\n")
        serves = await loop.sock_recv(control, _READ_BYTES)
        forks.forget(control.fileno())
        control.close()
        return loaded if serves else None

    node.main(load)


def _take_stdin() -> socket.socket:
    """The socket; what an agent starts does not get it for its stdin."""
    fd = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    forks.close_in_children(fd)
    return socket.socket(fileno=fd)


def _preload(names: Iterable[str]) -> None:
    for name in names:
        with suppress(BaseException):  # then it fails, or does not, where it is needed
            import_module(name)


def _files(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        module: Any = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            found[name] = file
    return found


if __name__ == "__main__":
    main()
