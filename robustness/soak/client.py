"""One session's client: turn after turn, each sent when the one before has ended.

A raw one speaks by one `Converse` stream to one router and never opens another: a stream that ends early is broken. One
of the Python client's may lose its router, too, and must not notice.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from grpc import aio

from agentring.client import AgentringError, AttemptRestarted, ClientError, Ring, TurnCompleted
from agentring.v1 import session_pb2, session_pb2_grpc
from robustness.soak.received_events import ReceivedEvents, words_of

TURN_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Script:
    """What every client does."""

    turns: int
    tokens: int
    rate: float
    """Tokens per second."""
    pause_s: float
    """The longest time between two turns."""

    def turn_id(self, number: int) -> str:
        """Of a session's turn, from 0."""
        return f"turn-{number}"


@dataclass(slots=True)
class ClientRecord:
    """What one client received."""

    session_id: str
    events: ReceivedEvents
    broken: str = ""
    """Why its stream ended early."""
    waits_s: list[float] = field(default_factory=list)
    """From each turn's sending to its end."""


Talk = Callable[[str], Awaitable[ClientRecord]]
"""What a client does with the session of this name."""


def raw(channels: list[aio.Channel], script: Script, drawn: random.Random) -> Talk:
    """By the generated stubs; channels: to a router each."""

    async def talk(session_id: str) -> ClientRecord:
        record = ClientRecord(session_id, ReceivedEvents(words_of(script.tokens)))
        await asyncio.sleep(drawn.uniform(0, script.pause_s))
        call = session_pb2_grpc.SessionServiceStub(drawn.choice(channels)).Converse()
        try:
            await call.write(
                session_pb2.ConverseRequest(open=session_pb2.Open(session_id=session_id, agent="echo", after_seq=0))
            )
            for number in range(script.turns):
                await _take(call, script, number, record)
                await asyncio.sleep(drawn.uniform(0, script.pause_s))
        except asyncio.InvalidStateError:  # the call had ended when the next turn was written to it
            record.broken = repr(await call.code())
        except (grpc.RpcError, EOFError, TimeoutError) as error:
            record.broken = repr(error)
        finally:
            call.cancel()
        return record

    return talk


async def _take(call: aio.StreamStreamCall, script: Script, number: int, record: ClientRecord) -> None:  # type: ignore[type-arg]
    turn = session_pb2.Turn(turn_id=script.turn_id(number))
    turn.input.data.update({"tokens": script.tokens, "rate": script.rate})
    sent_s = asyncio.get_running_loop().time()
    async with asyncio.timeout(TURN_WITHIN_S):
        await call.write(session_pb2.ConverseRequest(turn=turn))
        while not (ended := await _read(call, record.events)):
            pass
    if ended != turn.turn_id:
        record.events.faults.append(f"{ended} ended while {turn.turn_id} was awaited")
    record.waits_s.append(asyncio.get_running_loop().time() - sent_s)


async def _read(call: aio.StreamStreamCall, events: ReceivedEvents) -> str:  # type: ignore[type-arg]
    response = await call.read()
    if not isinstance(response, session_pb2.ConverseResponse):
        raise EOFError
    ended = [turn_id for event in response.events if (turn_id := events.take(event))]
    return ended[-1] if ended else ""


def with_client(ring: Ring, script: Script, drawn: random.Random) -> Talk:
    """By agentring.client."""

    async def talk(session_id: str) -> ClientRecord:
        record = ClientRecord(session_id, ReceivedEvents(words_of(script.tokens)))
        session = ring.session(session_id, agent="echo")
        await asyncio.sleep(drawn.uniform(0, script.pause_s))
        for number in range(script.turns):
            sent_s = asyncio.get_running_loop().time()
            turn = session.send(data={"tokens": script.tokens, "rate": script.rate}, turn_id=script.turn_id(number))
            try:
                async with asyncio.timeout(TURN_WITHIN_S), turn:
                    async for event in turn:
                        record.events.restarts += isinstance(event, AttemptRestarted)
            except (AgentringError, ClientError, TimeoutError) as error:
                record.broken = repr(error)
                break
            if turn.text != record.events.words or not isinstance(turn.end, TurnCompleted):
                record.events.faults.append(f"{turn.turn_id}: {len(turn.text)} characters, {turn.end}")
            record.events.completed.append(turn.turn_id)
            record.waits_s.append(asyncio.get_running_loop().time() - sent_s)
            await asyncio.sleep(drawn.uniform(0, script.pause_s))
        return record

    return talk
