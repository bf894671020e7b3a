"""How a fake endpoint answers: well, in all the ways that real ones do, and badly."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from harness.fake_endpoint import Answer, Exchange


def says(*pieces: str, read: int = 10, cached: int = 0) -> Answer:
    """Text in pieces, each a token."""

    async def answer(exchange: Exchange) -> None:
        await exchange.delta(role="assistant", content="")
        for piece in pieces:
            await exchange.delta(content=piece)
        await exchange.delta("stop")
        await exchange.usage(read, len(pieces), cached)
        await exchange.end()

    return answer


def calls(*tools: tuple[str, Mapping[str, Any]], text: str = "", parts: int = 3) -> Answer:
    """Tool calls by name and arguments, side by side, each call's arguments in so many chunks."""

    async def answer(exchange: Exchange) -> None:
        if text:
            await exchange.delta(content=text)
        for index, (name, _) in enumerate(tools):
            call = {"index": index, "id": f"call-{exchange.number}-{index}", "type": "function"}
            await exchange.delta(tool_calls=[{**call, "function": {"name": name, "arguments": ""}}])
        written = [json.dumps(arguments) for _, arguments in tools]
        for part in range(parts):
            for index, arguments in enumerate(written):
                size = -(-len(arguments) // parts)
                piece = arguments[part * size : (part + 1) * size]
                await exchange.delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])
        await exchange.delta("tool_calls")
        await exchange.usage(10, 5)
        await exchange.end()

    return answer


def fails(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Answer:
    """An error of HTTP."""

    async def answer(exchange: Exchange) -> None:
        await exchange.status(status, {"error": {"message": message, "code": code}}, **headers)

    return answer


def breaks_off(*pieces: str) -> Answer:
    """Ends the connection after some text."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in pieces:
            await exchange.delta(content=piece)
        await exchange.break_off()

    return answer


def ends_early(*pieces: str) -> Answer:
    """Ends the stream properly, but in the middle of the answer."""

    async def answer(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.delta(content=piece)
        await exchange.end()

    return answer


def sends(*data: bytes) -> Answer:
    """Any bytes as the stream."""

    async def answer(exchange: Exchange) -> None:
        for each in data:
            await exchange.raw(each)
        await exchange.end()

    return answer


def is_silent(*pieces: str, until: asyncio.Event | None = None) -> Answer:
    """Says nothing any more after some text."""

    async def answer(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.delta(content=piece)
        await (until or asyncio.Event()).wait()

    return answer
