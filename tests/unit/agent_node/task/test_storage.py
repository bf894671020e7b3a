"""What a task stores by key: its next run finds it, and nobody after its end."""

import asyncio
from collections.abc import AsyncIterator

from agent_node.events.whole_log import all_events, text_of
from agent_node.store.storage_records import task_scope
from agentring.agent import AgentEvent, Context
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED
from harness.attempts import Ran
from harness.two_task_nodes import KEY, two_nodes


async def test_the_next_run_of_a_task_finds_what_was_stored_and_its_end_removes_it() -> None:
    ran, go = Ran(), asyncio.Event()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        latest = ctx.storage.latest
        await latest.put("runs", (await latest.get("runs") or b"") + b"+")
        ran.called("run")
        await go.wait()
        yield str(await latest.get("runs"))

    async with two_nodes() as nodes:
        for node in (nodes.one, nodes.two):
            node.agents["storing"] = agent
        first = asyncio.ensure_future(nodes.one.run(agent="storing"))
        await ran.until_called("run")
        scope = task_scope(KEY.tenant, (await nodes.stored_task()).life_id)
        nodes.one.die()
        go.set()
        run, _ = await nodes.two.run(agent="storing")
        await run.ended.wait()
        assert (run.state, text_of(all_events(run.log))) == (TASK_STATE_COMPLETED, "b'++'")
        assert nodes.two.audited("storage_written") == ["storage_written"]
        assert list(await nodes.stored.storage.keys(scope, b"")) == []
        await asyncio.wait([first])
