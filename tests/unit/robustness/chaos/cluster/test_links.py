"""Links between processes: what comes through, what does not, and what is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from robustness.chaos.cluster.links import Link

PATIENCE_S = 5.0
HOST = "127.0.0.1"


class Echo:
    """A server that says every line back, and notes it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.more = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard.append(line)
                self.more.set()
                writer.write(line)
        except OSError:
            pass
        writer.close()


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def link(echo: Echo) -> AsyncIterator[Link]:
    server = await asyncio.start_server(echo.serve, HOST, 0)
    link = Link("{}:{}".format(*server.sockets[0].getsockname()))
    await link.start(HOST)
    yield link
    await link.stop()
    server.close()
    await server.wait_closed()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, link: Link) -> "Client":
        host, _, port = link.address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def say(self, line: bytes) -> None:
        self._writer.write(line)

    async def hear(self) -> bytes:
        """What was said back; empty: the connection has ended."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._reader.readline()
        except OSError:
            return b""

    def close(self) -> None:
        self._writer.transport.abort()


async def test_a_link_carries_both_ways(link: Link) -> None:
    client = await Client.to(link)
    client.say(b"hello\n")
    assert await client.hear() == b"hello\n"
    client.close()


async def test_what_was_said_while_it_was_cut_comes_when_it_is_mended(link: Link, echo: Echo) -> None:
    client = await Client.to(link)
    link.cut()
    client.say(b"hello\n")
    await asyncio.sleep(0)
    late = await Client.to(link)
    late.say(b"from a new connection\n")
    assert echo.heard == []
    link.mend()
    assert await client.hear() == b"hello\n"
    assert await late.hear() == b"from a new connection\n"
    client.close()
    late.close()


async def test_a_link_that_is_cut_on_the_way_back_lets_requests_through(link: Link, echo: Echo) -> None:
    client = await Client.to(link)
    link.cut(forth=False)
    client.say(b"hello\n")
    async with asyncio.timeout(PATIENCE_S):
        await echo.more.wait()
    assert echo.heard == [b"hello\n"]
    link.mend()
    assert await client.hear() == b"hello\n"
    client.close()


async def test_a_lost_reply_is_lost_after_its_request_has_landed_and_only_once(link: Link, echo: Echo) -> None:
    link.lose_reply(b"claim")
    client = await Client.to(link)
    client.say(b"something else\n")
    assert await client.hear() == b"something else\n"
    client.say(b"a claim\n")
    assert await client.hear() == b""
    assert echo.heard == [b"something else\n", b"a claim\n"]
    assert link.lost == 1
    again = await Client.to(link)
    again.say(b"a claim\n")
    assert await again.hear() == b"a claim\n"
    client.close()
    again.close()


async def test_broken_connections_end(link: Link) -> None:
    client = await Client.to(link)
    client.say(b"hello\n")
    await client.hear()
    link.break_connections()
    assert await client.hear() == b""
    client.close()
