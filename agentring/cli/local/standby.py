"""A node's process that is started before it is needed, for `agentring dev`.

Guarantees: until `serve` it takes nothing of the node that it will follow; what of its agents cannot be loaded is known
before. See agent_node/standby.py for what is said over the socket. Called by `reloading`.
"""

import asyncio
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from agentring.cli.local.child import Child, ChildSpec

_LOAD_DEADLINE_S = 60.0
_MOST_BYTES = 16 << 20
"""Of the list of files: one of a few hundred bytes for each module."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What such a process says of its agents."""

    left_out: tuple[str, ...]
    """A line for each that cannot be loaded."""
    files: Mapping[str, str]
    """Of the modules that were imported for them, by name."""


class Standby:
    """Who starts one has it serve, and is its child's owner from then on, or discards it."""

    def __init__(self, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For `start` alone."""
        self.child = child
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, spec: ChildSpec, preload: Iterable[str]) -> Self:
        """Starts the process. preload: modules that it imports at once. Raises ChildFailed."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = await Child.start(replace(spec, stdin=theirs.fileno()))
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_MOST_BYTES)
        standby = cls(child, reader, writer)
        standby._say(preload=list(preload))
        return standby

    async def load(self) -> Loaded:
        """Has it load its agents as they are now. Raises ChildFailed."""
        self._say(load=True)
        try:
            async with asyncio.timeout(_LOAD_DEADLINE_S):
                line = await self._reader.readline()
        except OSError:
            line = b""
        except TimeoutError as error:
            raise self.child.failure(f"has not loaded its agents within {_LOAD_DEADLINE_S:g} s") from error
        if not line:
            await self.child.ended()
            raise self.child.failure()
        said: dict[str, Any] = json.loads(line)
        return Loaded(tuple(said["left_out"]), said["files"])

    def serve(self) -> None:
        """It is the node from now on."""
        self._say(serve=True)
        self._writer.close()

    async def discard(self) -> None:
        """Ends it, if it has not served. Raises ChildFailed."""
        self._writer.close()
        at_once = asyncio.Event()
        at_once.set()
        await self.child.stop(at_once)

    def _say(self, **command: object) -> None:
        self._writer.write(json.dumps(command).encode() + b"\n")
