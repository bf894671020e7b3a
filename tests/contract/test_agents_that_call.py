"""Agents that wait for sessions and tasks by agentring.client: one that would wait for itself is refused at once."""

import asyncio

import pytest
from grpc import aio

from harness.client import run_task, run_turn, turn
from harness.cluster import Cluster

AT_ONCE_S = 15.0
"""A deadline of its own comes after 300 s."""


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (["session {a}"], "session {a} waits for me"),
        (["sync {a}"], "sync {a} waits for me"),
        (["session {b}", "session {a}"], "session {a} waits for me"),
        (["task {b}", "session {a}"], "session {a} waits for me"),
        (["session {b}", "task {c}", "session {b}"], "session {b} waits for me"),
        (["session {b}", "task {c}", "task {c}"], "task {c} waits for me"),
        (["session {b}", "session {c}", "task {b}"], "the end"),
    ],
    ids=" ".join,
)
async def test_a_circle_is_refused_at_once(
    cluster: Cluster, channel: aio.Channel, name: str, calls: list[str], text: str
) -> None:
    names = {each: f"{name}-{each}" for each in "abc"}
    steps = [each.format(**names) for each in calls]
    async with asyncio.timeout(AT_ONCE_S):
        ended = await run_turn(channel, names["a"], turn(target=cluster.router, way=steps), agent="calling")
        assert ended.text == text.format(**names)
        repeated = await run_turn(channel, names["a"], turn(target=cluster.router, way=[]), agent="calling")
        assert repeated.text == "the end"


async def test_a_task_does_not_wait_for_itself(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    async with asyncio.timeout(AT_ONCE_S):
        steps = [f"session {name}", f"task {name}"]
        received = await run_task(channel, name, agent="calling", target=cluster.router, way=steps)
        assert received.text == f"task {name} waits for me"


async def test_of_two_waiting_for_each_other_one_is_refused(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    one, other = f"{name}-1", f"{name}-2"
    async with asyncio.timeout(AT_ONCE_S):
        ended = await asyncio.gather(
            *(
                run_turn(
                    channel,
                    own,
                    turn(target=cluster.router, way=[f"session {awaited}"]),
                    agent="calling",
                )
                for own, awaited in ((one, other), (other, one))
            )
        )
    assert all(each.kinds[-1] == "turn_completed" for each in ended)
