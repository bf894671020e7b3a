"""`python -m interop.own_services`: the service of backend.py, served as a node serves its own (agentring/rpc).

Prints its address when it serves. It answers bytes with bytes, as backend.py does; what no service of a node's does
(metadata that come back, statuses and trailers as the client asks for them) it does not do either.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import uvloop
from google.protobuf.message import Message
from interop.backend import SERVICE, Outcomes

from agentring.http2.budget import Budget
from agentring.http2.listener import Listener, bind
from agentring.http2.transport import Flusher
from agentring.rpc.call_tasks import CallTasks
from agentring.rpc.health import Health
from agentring.rpc.server import HEALTH, LIMITS
from agentring.rpc.service import Call, Requests, Serve, methods
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from agentring.rpc.service_stream import ServiceStream

Body = Callable[[Any, Call], Awaitable[None]]


class Raw(bytes):
    """A message that is nothing but its bytes."""

    @classmethod
    def FromString(cls, raw: bytes) -> "Raw":
        """As protobuf's messages."""
        return cls(raw)

    def SerializeToString(self) -> bytes:
        """As protobuf's messages."""
        return bytes(self)


async def _echo(requests: Any, call: Call) -> None:
    async for message in requests:
        await call.send(message)


async def _concatenate(requests: Any, call: Call) -> None:
    await _send(call, b"".join([message async for message in requests]))


async def _repeat(requests: Any, call: Call) -> None:
    async for message in requests:
        for _ in range(int(call.metadata.get("count", 1))):
            await call.send(message)


async def _hold(requests: Any, call: Call) -> None:
    async for message in requests:
        await call.send(message)
    await _send(call, b"half-closed")
    await asyncio.Event().wait()


async def _ignore(_requests: Any, _call: Call) -> None:
    await asyncio.Event().wait()


async def _send(call: Call, answer: bytes) -> None:
    await call.send(cast(Message, Raw(answer)))


def _serving(body: Body, outcomes: Outcomes) -> Serve:
    async def serve(stream: ServiceStream, _first_frame_timeout_s: float) -> None:
        call = Call(stream)
        with outcomes.noting(call.metadata.get("call-id", "")):
            await call.accept(("x-agentring-node", "own"))
            await body(Requests(cast(type[Message], Raw), stream, None), call)

    return serve


async def main() -> None:
    """Serves until it is killed."""
    loop = asyncio.get_running_loop()
    outcomes = Outcomes()

    async def outcome(requests: Any, call: Call) -> None:
        async for call_id in requests:
            await _send(call, (await outcomes.of(call_id.decode())).encode())

    bodies: dict[str, Body] = {
        "Unary": _echo,
        "ClientStream": _concatenate,
        "ServerStream": _repeat,
        "BidiStream": _echo,
        "Hold": _hold,
        "Ignore": _ignore,
        "Outcome": outcome,
    }
    served = {SERVICE + name: _serving(body, outcomes) for name, body in bodies.items()}
    health = Health(())
    health.set_condition(serving=True, coordinated=True, sessions=True)
    tasks = CallTasks(served | methods(HEALTH, health), loop, first_frame_timeout_s=10)
    limits = replace(LIMITS, max_streams=10_000)  # h2spec opens one more, and is to be done before the first times out
    context = ServerContext("node", limits, Budget(256 << 20), loop, tasks.begin)
    listener = Listener(
        lambda wake: ServiceConnection(context, loop.time(), wake),
        Flusher(loop),
        context.traffic,
        max_connections=1_000,
        tls=None,
    )
    bound, address = bind("127.0.0.1:0", shared=False)
    await listener.open(bound)
    print(json.dumps({"address": address}), flush=True)
    while True:
        await asyncio.sleep(1)
        listener.tick(loop.time())


if __name__ == "__main__":
    uvloop.run(main())
