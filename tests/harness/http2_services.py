"""A server of our own services, and clients that break the protocol: recorded connections, mutated.

Nothing is opened: no sockets, no clock but the event loop's.
"""

import asyncio
import random

import structlog
from hypothesis import strategies as st

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.frames import HEAD, Code
from agentring.http2.hpack import block
from agentring.http2.limits import Limits
from agentring.rpc.call_tasks import CallTasks
from agentring.rpc.service import Call, methods
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from agentring.v1 import session_pb2
from harness.byte_client import request_fields
from harness.http2_frames import message, opening
from harness.http2_raw import drain, feed

SERVICE = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
GET, RUN, CONVERSE = (f"/agentring.v1.SessionService/{name}" for name in ("GetSession", "RunTurn", "Converse"))


class Sessions:
    """Answers every kind of call, and with more than a window holds."""

    async def GetSession(self, _request: object, _call: Call) -> session_pb2.GetSessionResponse:
        return session_pb2.GetSessionResponse(session=session_pb2.Session(session_id="s"))

    async def RunTurn(self, _request: object, call: Call) -> None:
        await call.accept(("x-agentring-node", "n"))
        text = session_pb2.TextDelta(text="x" * 30_000)
        for _ in range(4):
            await call.send(session_pb2.RunTurnResponse(events=[session_pb2.Event(text_delta=text)]))

    async def Converse(self, requests: object, call: Call) -> None:
        async for _ in requests:  # type: ignore[attr-defined]
            await call.send(session_pb2.ConverseResponse(through_seq=1, acked_frame=1))


def recorded() -> list[bytes]:
    """What a client sends that does nothing wrong, frame by frame."""
    turn = session_pb2.Turn(input=session_pb2.Input(text="hello"))
    said = [opening()]
    for stream_id, path, requests in (
        (1, GET, [session_pb2.GetSessionRequest(session_id="s")]),
        (3, RUN, [session_pb2.RunTurnRequest(session_id="s", turn=turn)]),
        (5, CONVERSE, [session_pb2.ConverseRequest(turn=turn)] * 3),
        (7, "/no.Such/Method", [session_pb2.Turn()]),
    ):
        more = (("x-session-id", "s"), ("grpc-timeout", "5S"), ("x-bin", "AAA="))
        said.append(frames.headers(stream_id, block(request_fields(path, *more)), end_stream=False))
        said += [frames.data(stream_id, message(each.SerializeToString())) for each in requests]
        said.append(frames.data(stream_id, b"", end_stream=True))
        said.append(frames.window_update(stream_id, 1 << 20))
    said += [frames.SETTINGS_ACK, frames.ping(b"12345678", ack=False), frames.rst_stream(5, Code.CANCEL)]
    said += [frames.window_update(0, 1 << 20), frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 7})]
    return said


RECORDED = recorded()


def mutated(seed: int) -> bytes:
    """The recording with some of its frames dropped, doubled, moved, cut short, or with other bits or other heads."""
    chance = random.Random(seed)
    said = list(RECORDED)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(said))
        match chance.randrange(7):
            case 0:
                del said[at]
            case 1:
                said.insert(at, said[at])
            case 2:
                said.insert(chance.randrange(len(said)), said.pop(at))
            case 3:
                said[at] = said[at][: chance.randrange(len(said[at]) + 1)]
            case 4 | 5:
                flipped = bytearray(said[at])
                for _ in range(chance.randint(1, 4)):
                    if flipped:
                        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
                said[at] = bytes(flipped)
            case _:
                length = chance.randrange(64)
                head = HEAD.pack(length << 8 | chance.randrange(12), chance.randrange(256), chance.randrange(12))
                said.insert(at, head + chance.randbytes(length))
        if not said:
            return b""
    return b"".join(said)


BROKEN_CALLERS = st.tuples(st.integers(0, 1 << 32), st.lists(st.integers(0, 1_500), max_size=5))
"""Which mutation, and where what is sent is cut into reads."""


def run_broken_caller(example: tuple[int, list[int]]) -> None:
    """A broken connection beside one that is served to its end: nothing may be left, and nothing be a fault of ours."""
    seed, cuts = example
    sent = mutated(seed)
    with structlog.testing.capture_logs() as logged:
        asyncio.run(_run(sent, sorted(min(cut, len(sent)) for cut in cuts)))
    assert [each for each in logged if each["log_level"] in ("error", "critical")] == []


async def _run(sent: bytes, cuts: list[int]) -> None:
    loop = asyncio.get_running_loop()
    tasks = CallTasks(methods(SERVICE, Sessions()), loop, first_frame_timeout_s=60)
    budget = Budget(1 << 20)
    context = ServerContext("node", Limits(), budget, loop, tasks.begin)
    peer, neighbour = (ServiceConnection(context, loop.time(), lambda: None) for _ in range(2))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    for piece in pieces:
        feed(peer, piece, loop.time())
        drain(peer)
        await asyncio.sleep(0)
        drain(peer)
    feed(neighbour, b"".join(RECORDED[:4]), loop.time())
    for _ in range(20):
        await asyncio.sleep(0)
    assert b"grpc-status\x010" in drain(neighbour)
    for connection in (peer, neighbour):
        connection.tick(loop.time() + 1)
        connection.socket_lost()
    await tasks.wait(5)
    assert len(tasks) == 0
    assert (budget.used_bytes, len(budget)) == (0, 0)
