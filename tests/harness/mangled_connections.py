"""Mangled connections sent to a port, and whether routers and nodes still serve after them.

Guarantees that what a connection sends follows from its seed and number alone. Used by the fuzzing of live clusters,
long in scripts/fuzz and short in tests/abuse.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterable
from pathlib import Path
from random import Random

from grpc import aio

from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from harness.mangling import Frame, mangle

FAULTS = (b"Traceback", b"call_failed", b"connection_failed", b"relay_failed", b"never retrieved", b"never awaited")
"""What must not stand in any log, whatever a client sends."""
_AT_ONCE = 32
_QUIET_S = 0.05
_LINGER_S = 1.0
_LINGERING = 0.02
"""The part of connections that is left open for a while after its last byte."""
_CALL_S = 20.0


def pieces_of(recordings: list[list[Frame]], seed: int, number: int) -> tuple[list[bytes], Random]:
    """What one connection sends, and the generator as it is after that."""
    random = Random(f"{seed}.{number}")
    return mangle(recordings, random), random


async def send_all(address: str, recordings: list[list[Frame]], seed: int, numbers: Iterable[int]) -> None:
    """Sends the connections of these numbers, some at a time. Raises OSError where nobody listens any more."""
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            pieces, random = pieces_of(recordings, seed, number)
            await _send(address, pieces, lingers=random.random() < _LINGERING)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


async def _send(address: str, pieces: list[bytes], *, lingers: bool) -> None:
    """One connection, from its opening to its end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with contextlib.suppress(OSError):  # the server has ended it: that is what it may do
        try:
            for piece in pieces:
                writer.write(piece)
                async with asyncio.timeout(_CALL_S):
                    await writer.drain()
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(_LINGER_S if lingers else _QUIET_S):
                        if not await reader.read(1 << 16):
                            break
        finally:
            writer.transport.abort()


async def check_serves(router: str, nodes: Iterable[str]) -> None:
    """Raises ExceptionGroup unless every node is ACTIVE and runs a task that is asked of its own port, and the router a
    turn of a new session."""
    nodes = list(nodes)
    async with asyncio.timeout(_CALL_S), asyncio.TaskGroup() as group:
        group.create_task(_router_serves(router, len(nodes)))
        for node in nodes:
            group.create_task(_node_serves(node))


def faults_in(logs: Iterable[Path]) -> list[str]:
    """The lines of logs that say a fault of ours."""
    return [
        f"{log.name}: {line.decode('utf-8', 'replace')}"
        for log in logs
        for line in log.read_bytes().splitlines()
        if any(fault in line for fault in FAULTS)
    ]


async def _router_serves(address: str, nodes: int) -> None:
    async with aio.insecure_channel(address) as channel:
        found = await cluster_pb2_grpc.ClusterServiceStub(channel).ListNodes(cluster_pb2.ListNodesRequest())
        active = [node for node in found.nodes if node.state == cluster_pb2.NODE_STATE_ACTIVE]
        assert len(active) == nodes, f"{len(active)} of {nodes} nodes are ACTIVE"
        turn = session_pb2.Turn(input=session_pb2.Input(text="hello"))
        request = session_pb2.RunTurnRequest(session_id=f"check-{uuid.uuid4().hex}", agent="echo", turn=turn)
        async for response in session_pb2_grpc.SessionServiceStub(channel).RunTurn(request):
            if any(event.HasField("turn_completed") for event in response.events):
                return
        raise AssertionError("a turn through the router ended without its end")


async def _node_serves(address: str) -> None:
    async with aio.insecure_channel(address) as channel:
        request = task_pb2.RunTaskRequest(task_key=f"check-{uuid.uuid4().hex}", agent="echo")
        async for response in task_pb2_grpc.TaskServiceStub(channel).RunTask(request):
            if any(event.HasField("turn_completed") for event in response.events):
                return
        raise AssertionError("a task of a node's own port ended without its end")
