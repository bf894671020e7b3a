"""A TCP path that can go dark: bytes vanish both ways, and nobody is told, as where packets are dropped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Path:
    """A port that leads to `target`, for as long as it is lit."""

    def __init__(self) -> None:
        self.target = ""
        self.address = ""
        self.connections = 0
        """So many were made."""
        self._lit = asyncio.Event()
        self._lit.set()
        self._dark_through = 0
        self._flows: set[asyncio.Task[None]] = set()
        self._served: set[asyncio.Task[None]] = set()

    def darken(self, *, new: bool) -> None:
        """What comes on the connections that there are vanishes from now on; new: also on later ones, until `light`."""
        self._dark_through = self.connections
        if new:
            self._lit.clear()

    def light(self) -> None:
        """New connections lead somewhere again."""
        self._dark_through = self.connections
        self._lit.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        host, _, port = self.target.rpartition(":")
        there_reader, there = await asyncio.open_connection(host, int(port))
        flows = [
            asyncio.ensure_future(self._carry(number, reader, there)),
            asyncio.ensure_future(self._carry(number, there_reader, writer)),
        ]
        self._flows.update(flows)
        try:
            await asyncio.wait(flows)
        finally:
            for each in (writer, there):
                each.transport.abort()
                with suppress(OSError):
                    await each.wait_closed()

    async def _carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if number > self._dark_through and self._lit.is_set():
                    writer.write(data)
                    await writer.drain()
        if number > self._dark_through:
            with suppress(OSError, RuntimeError):
                writer.write_eof()
        else:
            await asyncio.Event().wait()  # an end vanishes as well

    async def _close(self) -> None:
        for each in self._flows:
            each.cancel()
        await asyncio.gather(*self._flows, *self._served, return_exceptions=True)


@asynccontextmanager
async def path() -> AsyncIterator[Path]:
    """One that listens; its target is to be set."""
    found = Path()
    server = await asyncio.start_server(found._serve, "127.0.0.1", 0)
    found.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await found._close()
