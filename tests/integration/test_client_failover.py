"""The Python client while what it speaks with dies: its turns and tasks go on, with the same words."""

import asyncio
import signal
import uuid
from collections.abc import Callable

import pytest

from agentring.client import AttemptRestarted, Disposition, EventStream, TextDelta, TurnCompleted, connect
from harness.cluster import Cluster

TOKENS = 200
WORDS = "".join(f"token{n} " for n in range(TOKENS))


async def words_of(stream: EventStream) -> str:
    """What a stream says to the end of its first turn, without what was void."""
    words = ""
    async for event in stream:
        if isinstance(event, AttemptRestarted):
            words = ""
        elif isinstance(event, TextDelta):
            words += event.text
        elif isinstance(event, TurnCompleted):
            break
    return words


async def test_a_turn_outlives_its_node(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2)
    async with connect(cluster.router) as ring:
        session = ring.session(uuid.uuid4().hex, agent="echo")
        turn = session.send(data={"tokens": TOKENS, "rate": 200})
        await anext(turn)
        watching = asyncio.create_task(words_of(session.watch(0)))
        restarts = 0
        owner = (await session.get()).node_id
        async for event in turn:
            restarts += isinstance(event, AttemptRestarted)
            if isinstance(event, TextDelta) and owner:
                await asyncio.to_thread(cluster.nodes[owner].process.stop, signal.SIGKILL)
                owner = ""
        assert isinstance(turn.end, TurnCompleted)
        assert turn.text == WORDS
        assert restarts == 1
        assert await asyncio.wait_for(watching, 20) == WORDS
        assert (await session.get()).turns_completed == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_turns_tasks_and_watches_outlive_their_router(
    make_cluster: Callable[..., Cluster], how: signal.Signals
) -> None:
    cluster = make_cluster(nodes=1, routers=2)
    routers = [member.address for member in cluster.routers.values()]
    async with connect(",".join(routers)) as ring:
        session = ring.session(uuid.uuid4().hex, agent="echo")
        turn = session.send(data={"tokens": TOKENS, "rate": 200})
        task = ring.task(uuid.uuid4().hex, agent="echo", data={"tokens": TOKENS, "rate": 200})
        await anext(turn)
        await anext(task)
        watching = asyncio.create_task(words_of(session.watch(0)))
        seen = 0
        async for event in turn:
            assert not isinstance(event, AttemptRestarted)
            seen += isinstance(event, TextDelta)
            if seen == 1:
                stopping = asyncio.create_task(asyncio.to_thread(cluster.routers["r1"].process.stop, how))
        assert turn.text == WORDS
        assert (await task.outcome()).text == WORDS
        assert task.disposition is Disposition.STARTED
        assert await asyncio.wait_for(watching, 20) == WORDS
        await stopping
