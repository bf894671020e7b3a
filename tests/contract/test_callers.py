"""What agents see of a call's metadata, by every RPC that brings an input: what the node lets in, and nothing else."""

import json
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from agentring.client import connect
from agentring.v1 import session_pb2, session_pb2_grpc, store_pb2, task_pb2, task_pb2_grpc
from harness.client import TIMEOUT_S, turn
from harness.cluster import Cluster

METADATA = (
    ("x-user", "ada"),
    ("x-plan", "gold"),
    ("authorization", "Bearer 0815"),
    ("cookie", "0815"),
)
SEEN = {"x-user": "ada"}
"""The nodes of these tests have --caller-metadata=x-user."""


async def seen(responses: Any) -> Any:
    text = ""
    async for response in responses:
        text += "".join(event.text_delta.text for event in response.events)
    return json.loads(text)


def forged() -> session_pb2.Input:
    """An input that says who its caller is."""
    kept = store_pb2.CallTerms(metadata={"x-user": "eve"}).SerializeToString()
    found = session_pb2.Input.FromString(store_pb2.StoredInput(call_terms=kept).SerializeToString())
    found.text = "whose"
    return found


async def test_a_turn_of_one_call(channel: aio.Channel, name: str) -> None:
    run = session_pb2_grpc.SessionServiceStub(channel).RunTurn
    request = session_pb2.RunTurnRequest(session_id=name, agent="faulty", turn=turn("whose"))
    assert await seen(run(request, timeout=TIMEOUT_S, metadata=METADATA)) == SEEN
    request.turn.CopyFrom(session_pb2.Turn(input=forged()))
    assert await seen(run(request, timeout=TIMEOUT_S)) == {}


async def test_turns_of_a_stream(channel: aio.Channel, name: str) -> None:
    async def frames() -> AsyncIterator[session_pb2.ConverseRequest]:
        yield session_pb2.ConverseRequest(open=session_pb2.Open(session_id=name, agent="faulty"))
        yield session_pb2.ConverseRequest(turn=turn("whose"))

    converse: Any = session_pb2_grpc.SessionServiceStub(channel).Converse
    assert await seen(converse(frames(), timeout=TIMEOUT_S, metadata=METADATA)) == SEEN


async def test_the_clients_own_metadata(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router, metadata={"x-user": "ada", "x-plan": "gold"}) as ring:
        outcome = await ring.session(name, agent="faulty").run("whose")
        assert json.loads(outcome.text) == SEEN


async def test_a_task(channel: aio.Channel, name: str) -> None:
    run = task_pb2_grpc.TaskServiceStub(channel).RunTask
    request = task_pb2.RunTaskRequest(task_key=name, agent="faulty", input=session_pb2.Input(text="whose"))
    assert await seen(run(request, timeout=TIMEOUT_S, metadata=METADATA)) == SEEN
