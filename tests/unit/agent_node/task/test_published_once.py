"""A task that a second node runs again says its words once, to a client that keeps what stays valid."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from unittest.mock import AsyncMock

import pytest

from agent_node.events.log import EventLog
from agent_node.events.whole_log import all_events
from agent_node.store import EventRow, Publication
from agent_node.store.step_records import RunOwnership, StoredStep
from agent_node.store.storage_records import StorageWrite
from agentring.agent import AgentEvent, Context
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED
from harness.attempts import Ran
from harness.turn_clients import TurnClient
from harness.two_task_nodes import Two, two_nodes


def keep_events(monkeypatch: pytest.MonkeyPatch, nodes: Two) -> None:
    """The store keeps the events that come with a step, as a durable one does."""
    steps, kept = nodes.stored.steps, list[EventRow]()
    keep = steps.keep

    async def keeping(
        run: RunOwnership,
        rows: Sequence[StoredStep],
        storage: Sequence[StorageWrite] = (),
        publication: Publication | None = None,
    ) -> int:
        kept.extend(publication.events if publication is not None else ())
        return await keep(run, rows, storage, publication)

    monkeypatch.setattr(steps, "keep", keeping)
    monkeypatch.setattr(steps, "read_events", AsyncMock(return_value=kept))


@pytest.mark.parametrize("keeps_valid", [True, False])
async def test_the_next_node_goes_on_where_the_last_commit_was(
    monkeypatch: pytest.MonkeyPatch, *, keeps_valid: bool
) -> None:
    ran = Ran()

    async def pieces(attempt: int) -> AsyncIterator[str]:
        yield f"é{attempt}"
        ran.called("streams")
        if attempt == 1:
            await asyncio.get_running_loop().create_future()
        yield "end"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "first "
        yield str(await ctx.step("a", ran.effect, "a"))
        await ctx.step("b", ran.effect, "b")
        async for piece in ctx.stream_step("stream", pieces, ctx.attempt, key="stream"):
            yield piece

    client = TurnClient(keeps_valid=keeps_valid)
    async with two_nodes() as nodes:
        keep_events(monkeypatch, nodes)
        for node in (nodes.one, nodes.two):
            node.agents["saying"] = agent
        run, _ = await nodes.one.run(agent="saying")
        await ran.until_called("streams")
        await client.read(run.log)
        assert client.words == "first aé1".encode()
        nodes.one.die()
        again, _ = await nodes.two.run(agent="saying")
        await again.ended.wait()
        assert again.state == TASK_STATE_COMPLETED
        await client.read(again.log)
    assert client.words == "first aé2end".encode()
    assert client.restarts == ["NODE_LOST"]
    said_again = 0 if keeps_valid else len("first a")
    assert client.sent_bytes == len("first aé1é2end".encode()) + said_again
    assert ran.calls == {"a": 1, "b": 1, "streams": 2}
    late = TurnClient(keeps_valid=keeps_valid)
    await late.read(EventLog.restored(again.epoch, all_events(again.log)))  # as a store has it of an ended task
    assert (late.words, late.restarts) == (client.words, ["NODE_LOST"])
