"""A session's files and the user's words are there for its next owner."""

import signal
from collections.abc import Callable

import pytest

from agentring.client import File, FileOutput, TurnAccepted, connect
from harness.cluster import Cluster
from harness.postgres import PostgresProcess

CONTENT = bytes(range(256)) * 8_000


@pytest.fixture(params=["sqlite", "postgresql"])
def durable(request: pytest.FixtureRequest, make_cluster: Callable[..., Cluster]) -> Cluster:
    """Two nodes on each durable store."""
    flags: tuple[str, ...] = ()
    if request.param == "postgresql":
        postgres: PostgresProcess = request.getfixturevalue("postgres")
        flags = (f"--store={postgres.database()}",)
    return make_cluster(nodes=2, flags=flags)


async def test_a_file_that_was_put_at_a_killed_node_is_used_at_the_next(durable: Cluster) -> None:
    async with connect(durable.router) as ring:
        session = ring.session("s", agent="echo")
        used = await session.put_file(File(CONTENT, "application/octet-stream", "used"))
        waiting = await session.put_file(File(CONTENT[1:], "application/octet-stream", "waiting"))
        await session.run(["first", used])
        owner = (await session.get()).node_id
        durable.nodes[owner].process.stop(signal.SIGKILL)
        events = [event async for event in session.send(["second", waiting])]
        assert (await session.get()).node_id != owner
        (put_out,) = [event.file for event in events if isinstance(event, FileOutput)]
        assert await session.get_file(put_out) == CONTENT[1:]
        assert await session.get_file(used) == CONTENT
        accepted = []
        async for event in session.watch(0):
            if isinstance(event, TurnAccepted):
                assert event.input is not None
                accepted.append(event.input.parts[1])
                if len(accepted) == 2:
                    break
        assert accepted == [used, waiting]
