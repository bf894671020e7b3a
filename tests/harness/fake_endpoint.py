"""A local endpoint that speaks OpenAI's chat completions: HTTP/1.1 and server-sent events on loopback, and each request
is answered by a function of the test's, which may do anything with its connection.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[["Exchange"], Awaitable[None]]
"""Answers one request."""


@dataclass
class Exchange:
    """One request, and the way to answer it."""

    request: dict[str, Any]
    """Its body."""
    headers: dict[str, str]
    """By their names in small letters."""
    number: int
    """Among the requests, from 1."""
    writer: asyncio.StreamWriter = field(repr=False)
    has_begun: bool = False

    async def begin(self) -> None:
        """The head of a stream of events."""
        self.has_begun = True
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        await self.writer.drain()

    async def raw(self, data: bytes) -> None:
        """Bytes of the stream."""
        if not self.has_begun:
            await self.begin()
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()

    async def event(self, data: Any) -> None:
        """One chunk, as JSON."""
        await self.raw(b"data: " + json.dumps(data).encode() + b"\n\n")

    async def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        """One chunk with a choice."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        await self.event({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})

    async def usage(self, read: int, written: int, cached: int = 0) -> None:
        """The chunk with what was used."""
        used = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        await self.event({"choices": [], "usage": {**used, "prompt_tokens_details": {"cached_tokens": cached}}})

    async def end(self) -> None:
        """The stream's end."""
        await self.raw(b"data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def status(self, status: int, body: Any, **headers: str) -> None:
        """An answer that is no stream. headers: with `_` for `-`."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Status", "content-type: application/json", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await self.writer.drain()

    async def break_off(self) -> None:
        """Ends the connection in the middle: what was sent arrives, and no end."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class FakeEndpoint:
    """Resource handling: `async with`, which ends its connections."""

    def __init__(self, *answers: Answer, otherwise: Answer | None = None) -> None:
        """answers: of the first requests, in order; otherwise: of all later ones."""
        self._answers: list[Answer] = list(answers)
        self._otherwise = otherwise
        self.exchanges: list[Exchange] = []
        self.faults: list[BaseException] = []
        """What the test's own functions raised."""
        self.base_url = ""
        """What OPENAI_BASE_URL is set to."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> Sequence[dict[str, Any]]:
        """The bodies so far."""
        return [exchange.request for exchange in self.exchanges]

    async def __aenter__(self) -> "FakeEndpoint":
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Raises what the test's own functions raised."""
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.faults:
            raise self.faults[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing() and (exchange := await self._read(reader, writer)) is not None:
                self.exchanges.append(exchange)
                answer = self._answers.pop(0) if self._answers else self._otherwise
                assert answer is not None, "the test expected no further request"
                await answer(exchange)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        except asyncio.CancelledError:
            pass  # of __aexit__
        except Exception as fault:
            self.faults.append(fault)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        assert first.startswith("POST /v1/chat/completions "), first
        body = await reader.readexactly(int(headers["content-length"]))
        return Exchange(json.loads(body), headers, len(self.exchanges) + 1, writer)
