"""`python -m robustness.abuse.neighbour ADDRESS`: well-behaved clients, whose turns are timed without a break.

SESSIONS Converse streams, on connections of CONNECTIONS, each one turn after the other with a pause between. Whatever
word it is told, it answers with what it has measured since the last one: how many turns, how many failed, and their
latencies in ms. A turn that fails, or is not over in TURN_S, counts as failed, and its stream is opened anew.
"""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc
from robustness.abuse.partner import send

SESSIONS = 8
CONNECTIONS = 2
PAUSE_S = 0.01
TURN_S = 10.0


class Window:
    """What was measured since it was last asked."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.latencies_ms: list[float] = []
        self.failures: list[str] = []

    def summary(self) -> dict[str, Any]:
        """In numbers; begins anew."""
        latencies_ms, failures = sorted(self.latencies_ms), self.failures
        self.latencies_ms, self.failures = [], []
        return {
            "turns": len(latencies_ms),
            "failed": len(failures),
            "first_failure": failures[0] if failures else "",
            **{f"p{percent}_ms": _percentile(latencies_ms, percent) for percent in (50, 99, 100)},
        }


async def main(address: str) -> None:
    """Measures until stdin ends."""
    window = Window()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
    talks = [asyncio.create_task(_talk(channels[i % CONNECTIONS], window)) for i in range(SESSIONS)]
    while await reader.readline():
        send(window.summary())
    for talk in talks:
        talk.cancel()
    await asyncio.wait(talks)
    for channel in channels:
        await channel.close()


async def _talk(channel: aio.Channel, window: Window) -> None:
    while True:
        begun_s = time.perf_counter()
        try:
            await _converse(channel, window)
        except (aio.AioRpcError, TimeoutError) as error:
            window.latencies_ms.append((time.perf_counter() - begun_s) * 1e3)
            window.failures.append(str(error.details() if isinstance(error, aio.AioRpcError) else "a turn timed out"))
            await asyncio.sleep(PAUSE_S)


async def _converse(channel: aio.Channel, window: Window) -> None:
    session_id = f"neighbour-{uuid.uuid4().hex}"
    turns: asyncio.Queue[session_pb2.ConverseRequest] = asyncio.Queue()

    async def requests() -> AsyncIterator[session_pb2.ConverseRequest]:
        yield session_pb2.ConverseRequest(open=session_pb2.Open(session_id=session_id, agent="echo"))
        while True:
            yield await turns.get()

    call = session_pb2_grpc.SessionServiceStub(channel).Converse(requests(), metadata=(("x-session-id", session_id),))
    try:
        while True:
            turn = session_pb2.Turn(turn_id=uuid.uuid4().hex, input=session_pb2.Input(text="hello"))
            begun_s = time.perf_counter()
            async with asyncio.timeout(TURN_S):
                await turns.put(session_pb2.ConverseRequest(turn=turn))
                while not _ends_turn(await call.read()):
                    pass
            window.latencies_ms.append((time.perf_counter() - begun_s) * 1e3)
            await asyncio.sleep(PAUSE_S)
    finally:
        call.cancel()


def _ends_turn(response: Any) -> bool:
    if response is aio.EOF:
        raise TimeoutError
    return any(event.WhichOneof("body") == "turn_completed" for event in response.events)


def _percentile(ordered: list[float], percent: int) -> float | None:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
