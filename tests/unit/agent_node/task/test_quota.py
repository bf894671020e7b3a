"""How many tasks a node takes, and how many of one tenant."""

import pytest

from agentring.errors import (
    NodeOverloaded,
    TooManyTasks,
)
from agentring.ids import parse_task
from agentring.v1.task_pb2 import (
    DISPOSITION_JOINED,
    DISPOSITION_REPLAYED,
    DISPOSITION_STARTED,
)
from harness.conditions import until
from harness.two_task_nodes import two_nodes


async def test_a_full_node_still_tells_what_has_ended_and_refuses_the_rest() -> None:
    async with two_nodes(max_tasks=1) as nodes:
        ended, _ = await nodes.two.run("ended", "failing")
        await ended.ended.wait()
        await nodes.one.run()
        assert (await nodes.one.run("ended", "failing"))[1] == DISPOSITION_REPLAYED
        with pytest.raises(NodeOverloaded):
            await nodes.one.run("more")
        assert await nodes.stored.read(parse_task("", "more")) is None


async def test_a_tenant_with_too_many_tasks_under_way_is_refused_another_and_keeps_nobody_else_out() -> None:
    async with two_nodes(max_tenant_tasks=2) as nodes:
        one = nodes.one
        first, _ = await one.run("a")
        await one.run("b")
        with pytest.raises(TooManyTasks):
            await one.run("c")
        assert await nodes.stored.read(parse_task("", "c")) is None
        assert (await one.run("b"))[1] == DISPOSITION_JOINED
        assert (await one.run("c", tenant="other"))[1] == DISPOSITION_STARTED
        await one.runs.cancel(first)
        await until(lambda: len(one.runs) == 2, "the cancelled run is released")
        assert (await one.run("c"))[1] == DISPOSITION_STARTED
        with pytest.raises(TooManyTasks):
            await one.run("d")
        assert (await one.run("a"))[1] == DISPOSITION_REPLAYED
