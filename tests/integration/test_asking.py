"""An agent's question whose node dies, or whose session is passivated, before it is answered through another router."""

import asyncio
import signal
import uuid
from collections.abc import Callable

import pytest

from agentring.client import Event, InputRequired, TurnAccepted, TurnCompleted, connect
from harness.cluster import Cluster
from harness.postgres import PostgresProcess
from harness.questions import FLAGS

PATIENCE_S = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def store_flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Each durable store."""
    if request.param == "sqlite":
        return FLAGS
    postgres: PostgresProcess = request.getfixturevalue("postgres")
    return (*FLAGS, f"--store={postgres.database()}")


async def test_a_question_outlives_its_node_and_is_answered_through_another_router(
    make_cluster: Callable[..., Cluster], store_flags: tuple[str, ...]
) -> None:
    cluster = make_cluster(nodes=2, routers=2, flags=store_flags)
    session_id = uuid.uuid4().hex
    asked: list[str] = []
    async with (
        asyncio.timeout(PATIENCE_S),
        connect(cluster.routers["r1"].address) as ring,
        connect(cluster.routers["r2"].address) as other,
    ):
        session, there = ring.session(session_id, agent="asking"), other.session(session_id, agent="asking")
        turn = session.send("2")
        async for event in turn:
            if isinstance(event, InputRequired):
                asked.append(event.input_id)
                if len(asked) == 1:
                    await session.reply(event.input_id, "before")
                elif len(asked) == 2:
                    owner = cluster.nodes[(await session.get()).node_id]
                    await asyncio.to_thread(owner.process.stop, signal.SIGKILL)
                    await there.reply(event.input_id, "after")
        assert isinstance(turn.end, TurnCompleted)
        assert turn.text == "before and after"
        assert turn.end.attempt == 2
        assert set(asked) == {asked[0], asked[1]}
        assert (await there.get()).turns_completed == 1
    assert len(cluster.audit("turn_committed")) == 1


async def test_a_session_that_waits_is_passivated_and_an_answer_activates_it(
    make_cluster: Callable[..., Cluster], store_flags: tuple[str, ...]
) -> None:
    cluster = make_cluster(nodes=2, routers=2, flags=(*store_flags, "--idle-timeout-s=0.4"))
    session_id = uuid.uuid4().hex
    async with (
        asyncio.timeout(PATIENCE_S),
        connect(cluster.routers["r1"].address) as ring,
        connect(cluster.routers["r2"].address) as other,
    ):
        input_id = ""
        async with ring.session(session_id, agent="asking").send("1") as turn:
            async for event in turn:
                if isinstance(event, InputRequired):
                    input_id = event.input_id
                    break
        await cluster.until_audited("passivated", 1)
        there = other.session(session_id, agent="asking")
        assert (await there.get()).node_id == ""
        seen: list[Event] = []
        await there.reply(input_id, "at last")
        async for event in there.watch(0):
            seen.append(event)
            if isinstance(event, TurnCompleted):
                break
        assert (await there.get()).turns_completed == 1
        assert "at last" in "".join(getattr(event, "text", "") for event in seen)
        assert not any(isinstance(event, TurnAccepted) and event.turn_id != turn.turn_id for event in seen)
    assert len(cluster.audit("turn_committed")) == 1
