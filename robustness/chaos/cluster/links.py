"""A link between two processes that can be cut, in one direction or both, slowed down, or made to lose a reply.

A TCP proxy of our own on loopback, so it needs no privileges. A cut link is as one on which every packet is dropped:
nothing comes through, no connection is closed, and new ones are taken but never answered. What was under way when it
was cut comes through when it is mended, as TCP would send it again. Runs on the caller's event loop.
"""

import asyncio
from contextlib import suppress

_READ_BYTES = 64 << 10
_LANDS_S = 0.1
"""How long a request whose reply will be lost is given to take effect."""


class Link:
    """One way to one address. Resource handling: `start`, `stop`."""

    def __init__(self, to: str) -> None:
        """to: where it leads, as host:port."""
        self.to = to
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._forth, self._back = asyncio.Event(), asyncio.Event()
        self._lose: bytes | None = None
        self._losses_left = 0
        self.lost = 0
        """How many replies were lost."""
        self.address = ""
        self.mend()

    async def start(self, host: str) -> None:
        """Listens on a free port of an address of this machine's; `address` says which."""
        self._server = await asyncio.start_server(self._accept, host, 0)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
        self.break_connections()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self, *, forth: bool = True, back: bool = True) -> None:
        """From now on nothing goes forth (to where it leads), or nothing comes back."""
        if forth:
            self._forth.clear()
        if back:
            self._back.clear()

    def mend(self) -> None:
        """Everything goes again."""
        self._forth.set()
        self._back.set()

    def break_connections(self) -> None:
        """Ends every connection, as when the other side dies."""
        for writer in self._writers:
            writer.transport.abort()

    def lose_reply(self, marker: bytes) -> None:
        """The next request that contains these bytes goes forth, but its connection breaks before the reply comes."""
        self._lose, self._losses_left = marker, 1

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            await self._forth.wait()
            host, _, port = self.to.rpartition(":")
            answers, other = await asyncio.open_connection(host, int(port))
            self._writers.add(other)
            silent = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, other, self._forth, silent, watched=True))
                group.create_task(self._pump(answers, writer, self._back, silent, watched=False))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in (writer, other):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passable: asyncio.Event,
        silent: asyncio.Event,
        *,
        watched: bool,
    ) -> None:
        while data := await reader.read(_READ_BYTES):
            await passable.wait()
            if silent.is_set() and not watched:
                continue
            if watched and self._losses_left and self._lose is not None and self._lose in data:
                self._losses_left -= 1
                silent.set()
            writer.write(data)
            await writer.drain()
            if watched and silent.is_set():
                self.lost += 1
                await asyncio.sleep(_LANDS_S)
                break
        with suppress(OSError):
            writer.transport.abort()
        raise ConnectionResetError  # the other direction ends, too
