"""Agents that raise, yield nonsense or go too far: the turn fails with an opaque id, and the session stays usable."""

import re

import pytest
from grpc import aio

from agentring.v1 import session_pb2, task_pb2, task_pb2_grpc
from harness.agents import SECRET
from harness.client import TIMEOUT_S, Received, run_task, run_turn, turn
from harness.cluster import Cluster
from harness.streams import assert_gapless

FAULTS = {
    "raise": "AGENT_ERROR",
    "raise after words": "AGENT_ERROR",
    "exit": "AGENT_ERROR",
    "exit in a task": "AGENT_ERROR",
    "interrupt in a callback": "AGENT_ERROR",
    "cancelled": "AGENT_ERROR",
    "cancels itself": "AGENT_CANCELLED_ITSELF",
    "stop iteration": "AGENT_ERROR",
    "time out": "AGENT_ERROR",
    "no event": "AGENT_ERROR",
    "tool": "AGENT_ERROR",
    "tool arguments": "TOOL_ARGUMENT_INVALID",
    "state": "STATE_INVALID",
    "deep state": "STATE_INVALID",
    "lazy state": "STATE_INVALID",
    "big integer": "RESULT_INVALID",
    "result": "RESULT_INVALID",
}


def _failure(cluster: Cluster, received: Received) -> session_pb2.TurnFailed:
    """How it failed: sent once, last, with an id that the node's log explains and nobody else."""
    assert received.kinds.count("turn_failed") == 1
    failed = received.events[-1].turn_failed
    assert re.fullmatch("[0-9a-f]{16}", failed.error_id)
    assert SECRET not in str(received.events)
    logged = cluster.nodes[received.node].process.log.read_text()
    assert [line for line in logged.splitlines() if failed.error_id in line and "agent_failed" in line]
    return failed


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_turn_fails_and_the_session_goes_on(
    cluster: Cluster, channel: aio.Channel, name: str, fault: str
) -> None:
    assert (await run_turn(channel, name, turn("count"), agent="faulty")).result == {"turns": 1}
    received = await run_turn(channel, name, turn(fault), agent="faulty")
    assert _failure(cluster, received).reason == FAULTS[fault]
    # Its state is that before the failed turn.
    repeated = await run_turn(channel, name, turn("count"), agent="faulty")
    assert repeated.result == {"turns": 2}
    assert (repeated.node, repeated.epoch) == (received.node, received.epoch)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_task_fails(cluster: Cluster, channel: aio.Channel, name: str, fault: str) -> None:
    received = await run_task(channel, name, agent="faulty", text=fault)
    failed = _failure(cluster, received)
    assert failed.reason == FAULTS[fault]
    request = task_pb2.GetTaskRequest(task_key=name)
    task = (await task_pb2_grpc.TaskServiceStub(channel).GetTask(request, timeout=TIMEOUT_S)).task
    assert (task.state, task.failure) == (task_pb2.TASK_STATE_FAILED, failed)
    replayed = await run_task(channel, name, agent="faulty", text=fault)
    assert replayed.disposition == task_pb2.DISPOSITION_REPLAYED
    assert replayed.events[-1] == received.events[-1]


async def test_a_tool_that_raises_is_told_with_an_opaque_id(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("tool"), agent="faulty")
    assert received.kinds == ["turn_accepted", "turn_started", "tool_call", "tool_result", "turn_failed"]
    call, answer = received.events[2].tool_call, received.events[3].tool_result
    assert (answer.call_id, answer.name, answer.WhichOneof("outcome")) == (call.call_id, "breaking", "error_id")
    logged = cluster.nodes[received.node].process.log.read_text()
    assert [line for line in logged.splitlines() if answer.error_id in line and "tool_failed" in line]


@pytest.mark.parametrize("what", ["deep result", "deep tool arguments", "deep tool result"])
@pytest.mark.parametrize("depth", [30, 33, 34, 150])
async def test_what_is_nested_too_deeply_to_be_read_fails_its_turn_alone(
    cluster: Cluster, channel: aio.Channel, name: str, what: str, depth: int
) -> None:
    """Protobuf's libraries read messages nested at most 100 deep, and each object of JSON takes three of those."""
    received = await run_turn(channel, name, turn(what, depth=depth), agent="faulty")
    assert_gapless(received.events, 0)
    if depth == 30:
        assert received.kinds[-1] == "turn_completed"
    else:
        reason = "TOOL_ARGUMENT_INVALID" if what == "deep tool arguments" else "RESULT_INVALID"
        assert _failure(cluster, received).reason == reason
    assert (await run_turn(channel, name, turn("count"), agent="faulty")).result["turns"] == 1


async def test_the_failure_says_what_was_wrong_and_where(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("state"), agent="faulty")
    assert _failure(cluster, received).detail == "state $.cart[3].price: set"
    task = await run_task(channel, name, agent="faulty", text="big integer")
    assert _failure(cluster, task).detail.startswith("result $.id: an integer beyond 2**53")
    request = task_pb2.GetTaskRequest(task_key=name)
    described = (await task_pb2_grpc.TaskServiceStub(channel).GetTask(request, timeout=TIMEOUT_S)).task
    assert described.failure == task.events[-1].turn_failed


async def test_half_a_character_fails_no_turn(channel: aio.Channel, name: str) -> None:
    received = await run_turn(channel, name, turn("broken text"), agent="faulty")
    assert received.text == "\N{GRINNING FACE}\N{REPLACEMENT CHARACTER}"


async def test_more_words_than_allowed_fail_the_turn(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    limit = 1 << 20
    received = await run_turn(channel, name, turn("words", bytes=limit), agent="faulty")
    assert received.events[-1].turn_completed.text_bytes == limit
    received = await run_turn(channel, name, turn("words", bytes=limit + 1), agent="faulty")
    assert _failure(cluster, received).reason == "OUTPUT_LIMIT"
    assert received.text == ""


async def test_a_parameter_that_an_agent_refuses_fails_its_turn(
    cluster: Cluster, channel: aio.Channel, name: str
) -> None:
    received = await run_turn(channel, name, turn(tokens=-1))
    assert _failure(cluster, received).reason == "AGENT_ERROR"
    assert received.kinds == ["turn_accepted", "turn_started", "turn_failed"]
