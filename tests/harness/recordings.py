"""What real clients send on a whole connection, byte for byte: the material that mangling.py makes broken ones of.

`record` leads each client through a proxy of its own, which writes down what passes from the client to the server, in
the pieces in which it came. The clients are honest: what they send is served. Used by the fuzzing of live clusters.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc

_READ_BYTES = 1 << 16
_CALL_S = 10.0


@dataclass
class Recording:
    """One connection, from its preface on."""

    name: str
    pieces: list[bytes] = field(default_factory=list)

    @property
    def sent(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


async def record(address: str, *, is_router: bool) -> list[Recording]:
    """A recording of each client of CLIENTS against a server. is_router: the server is a router, not a node."""
    made = []
    for client in (*SESSIONS, *(ROUTERS if is_router else ())):
        recording = Recording(client.__name__)
        async with _recorder(address, recording) as proxy, aio.insecure_channel(proxy) as channel:
            async with asyncio.timeout(_CALL_S):
                await client(channel)
        made.append(recording)
    return made


async def converse(channel: aio.Channel) -> None:
    """Three turns on one stream."""
    session_id = _fresh()
    call = session_pb2_grpc.SessionServiceStub(channel).Converse(metadata=(("x-session-id", session_id),))
    opening = session_pb2.Open(session_id=session_id, agent="echo")
    await call.write(session_pb2.ConverseRequest(open=opening))
    for number in range(3):
        turn = session_pb2.Turn(turn_id=f"t{number}", input=session_pb2.Input(text="hello"))
        await call.write(session_pb2.ConverseRequest(turn=turn))
        await call.read()
    await call.write(session_pb2.ConverseRequest(ack=session_pb2.Ack(seq=1)))
    await call.done_writing()
    while await call.read() is not aio.EOF:
        pass


async def turns(channel: aio.Channel) -> None:
    """Turns of several sessions at once, by the first message alone."""
    stub = session_pb2_grpc.SessionServiceStub(channel)

    async def run() -> None:
        turn = session_pb2.Turn(input=session_pb2.Input(text="hello"))
        request = session_pb2.RunTurnRequest(session_id=_fresh(), agent="echo", turn=turn)
        async for _ in stub.RunTurn(request):
            pass

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(run())


async def unary(channel: aio.Channel) -> None:
    """Calls with one answer, and one that is refused."""
    session_id = _fresh()
    sessions = session_pb2_grpc.SessionServiceStub(channel)
    await sessions.SubmitTurn(
        session_pb2.SubmitTurnRequest(
            session_id=session_id, agent="echo", turn=session_pb2.Turn(input=session_pb2.Input(text="hello"))
        ),
        metadata=(("x-session-id", session_id), ("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01")),
    )
    await sessions.GetSession(session_pb2.GetSessionRequest(session_id=session_id))
    await sessions.ListSessions(session_pb2.ListSessionsRequest(page_size=2))
    with suppress(aio.AioRpcError):
        await sessions.GetSession(session_pb2.GetSessionRequest(session_id=_fresh()))


async def tasks(channel: aio.Channel) -> None:
    """A task, asked for twice, and cancelled."""
    stub = task_pb2_grpc.TaskServiceStub(channel)
    key = _fresh()
    for _ in range(2):
        async for _ in stub.RunTask(task_pb2.RunTaskRequest(task_key=key, agent="echo")):
            pass
    await stub.CancelTask(task_pb2.CancelTaskRequest(task_key=key))


async def own_service(channel: aio.Channel) -> None:
    """A stream of a method that no node has."""
    send: Any = channel.stream_stream("/user.v1.Service/Method")
    call = send(metadata=(("x-session-id", _fresh()), ("b-bin", b"\0\xff")))
    with suppress(aio.AioRpcError):
        await call.write(b"message")
        await call.done_writing()
        while await call.read() is not aio.EOF:
            pass


async def watched(channel: aio.Channel) -> None:
    """A stream that is cancelled."""
    session_id = _fresh()
    async for _ in session_pb2_grpc.SessionServiceStub(channel).RunTurn(
        session_pb2.RunTurnRequest(
            session_id=session_id, agent="echo", turn=session_pb2.Turn(input=session_pb2.Input(text="hello"))
        )
    ):
        pass
    call = session_pb2_grpc.SessionServiceStub(channel).WatchSession(
        session_pb2.WatchSessionRequest(session_id=session_id, after_seq=0)
    )
    await call.read()
    call.cancel()


async def health(channel: aio.Channel) -> None:
    """Health and reflection."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    await stub.Check(health_pb2.HealthCheckRequest())
    request: Message = reflection_pb2.ServerReflectionRequest(list_services="")

    async def requests() -> AsyncIterator[Message]:
        yield request

    stub = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
    async for _ in stub.ServerReflectionInfo(requests()):
        pass


async def cluster(channel: aio.Channel) -> None:
    """The router's own service."""
    stub = cluster_pb2_grpc.ClusterServiceStub(channel)
    await stub.ListNodes(cluster_pb2.ListNodesRequest())
    await stub.GetRing(cluster_pb2.GetRingRequest())
    await stub.LocateSession(cluster_pb2.LocateSessionRequest(session_id=_fresh()))


SESSIONS: tuple[Callable[[aio.Channel], Awaitable[None]], ...] = (
    converse,
    turns,
    unary,
    tasks,
    own_service,
    watched,
    health,
)
ROUTERS: tuple[Callable[[aio.Channel], Awaitable[None]], ...] = (cluster,)


def _fresh() -> str:
    """A name that no recording has had: on a node's port a session must not be another's already."""
    return f"recorded-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def _recorder(address: str, recording: Recording) -> AsyncIterator[str]:
    """A proxy to the address that writes down what clients send."""
    host, _, port = address.rpartition(":")
    copying: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        for task in (
            asyncio.create_task(_copy(reader, back, recording.pieces)),
            asyncio.create_task(_copy(there, writer, None)),
        ):
            copying.add(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in copying:
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, noted: list[bytes] | None) -> None:
    try:
        while data := await reader.read(_READ_BYTES):
            if noted is not None:
                noted.append(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # either side has ended the connection
    finally:
        writer.close()
