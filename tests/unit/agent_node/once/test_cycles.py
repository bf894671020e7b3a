"""Waits for a key that the caller itself holds, directly or through others, are refused."""

import asyncio
from typing import Any

import pytest

from agentring.agent import OnceFailed, OnceTimeout
from agentring.errors import TaskCycle
from harness.once import OnceNode, Step, once_cluster, settled


class Nested:
    """A step that asks for further ones, one inside the other."""

    def __init__(self, node: OnceNode, *keys: str, **how: Any) -> None:
        self.node, self.keys, self.how = node, keys, how
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, **_: Any) -> str:
        self.begun.set()
        await self.go.wait()
        key, *rest = self.keys
        inner = Nested(self.node, *rest, **self.how) if rest else Step("inner")
        inner.go.set()
        try:
            return f"of {await self.node.call(key, inner, **self.how)}"
        except TaskCycle as error:
            self.error = error
            raise


async def test_a_step_does_not_wait_for_itself() -> None:
    async with once_cluster() as cluster:
        step = Nested(cluster.n1, "a")
        step.go.set()
        with pytest.raises(OnceFailed) as failed:
            await cluster.n1.call("a", step)
        assert failed.value.type_name == "TaskCycle"


async def test_nor_through_a_step_inside() -> None:
    async with once_cluster() as cluster:
        step = Nested(cluster.n1, "b", "c", "a")
        step.go.set()
        with pytest.raises(OnceFailed) as failed:
            await cluster.n1.call("a", step)
        assert failed.value.type_name == "OnceFailed"
        assert "TaskCycle" in failed.value.text


async def test_steps_inside_each_other_are_no_circle() -> None:
    async with once_cluster() as cluster:
        step = Nested(cluster.n1, "b", "c")
        step.go.set()
        assert await cluster.n1.call("a", step) == "of of inner"
        nested = Nested(cluster.n2, "b")
        nested.go.set()
        assert await cluster.n2.call("d", nested) == "of of inner"


@pytest.mark.parametrize("same_node", [True, False])
async def test_of_two_that_wait_for_each_other_the_later_is_refused(same_node: bool) -> None:
    async with once_cluster() as cluster:
        here, there = cluster.n1, cluster.n1 if same_node else cluster.n2
        a, b = Nested(here, "b"), Nested(there, "a")
        one, other = here.begin("a", a), there.begin("b", b)
        await a.begun.wait()
        await b.begun.wait()
        a.go.set()
        await settled()
        b.go.set()
        with pytest.raises(OnceFailed) as failed:
            await other
        assert failed.value.type_name == "TaskCycle"
        with pytest.raises(OnceFailed):  # it got the ending of the step that it waited for
            await one
        assert (a.error, isinstance(b.error, TaskCycle)) == (None, True)


async def test_the_keys_travel_along_with_every_wait() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n2.begin("c", step)
        await step.begun.wait()
        outer = Nested(cluster.n1, "b", "c")
        outer.go.set()
        plain, nested = cluster.n1.begin("c", step), cluster.n1.begin("a", outer)
        await settled()
        assert sorted(cluster.watches) == [("c", []), ("c", ["a", "b"])]
        step.go.set()
        assert list(await asyncio.gather(holder, plain, nested)) == ["done", "done", "of of done"]


async def test_a_circle_through_runs_of_one_node_is_found_from_the_other() -> None:
    async with once_cluster() as cluster:
        a, b, c = Nested(cluster.n1, "b"), Nested(cluster.n2, "c"), Nested(cluster.n2, "a")
        tasks = [cluster.n1.begin("a", a), cluster.n2.begin("b", b), cluster.n2.begin("c", c)]
        for step in (a, b, c):
            await step.begun.wait()
        c.go.set()
        b.go.set()
        await settled()
        a.go.set()  # waits for b, which waits for c, which waits for a
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, OnceFailed) for result in results)
        assert isinstance(a.error, TaskCycle)
        assert b.error is None
        assert c.error is None


async def test_a_wait_inside_a_step_has_a_deadline_of_its_own() -> None:
    async with once_cluster() as cluster:
        step = Step()
        holder = cluster.n2.begin("b", step)
        await step.begun.wait()
        outer = Nested(cluster.n1, "b", timeout_s=0.01)
        outer.go.set()
        with pytest.raises(OnceFailed) as failed:
            await cluster.n1.call("a", outer)
        assert failed.value.type_name == OnceTimeout.__name__
        step.go.set()
        await holder
