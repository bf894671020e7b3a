"""A run in a child process has its steps recorded by its node: what crosses between the two is pickled."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_node.child_process.recorded_steps import ChildSteps, NodeSteps
from agent_node.run import step_events
from agent_node.run.outcome import Completed
from agent_node.store.step_records import CHUNK_BYTES, BlobChunk, StepState, StoredStep
from agentring.agent import AgentEvent, Context
from agentring.errors import NodeDraining
from harness.attempts import Attempt, Kept, Ran
from harness.bench import Bench

LARGE = "x" * (2 * CHUNK_BYTES)


async def at_once() -> None:
    """Nothing is halted."""


class Node:
    """The node's side, at the other end of a connection."""

    def __init__(self, attempt: Attempt) -> None:
        self.steps = NodeSteps(attempt, at_once)
        self.asked: list[str] = []

    def send(self, kind: str, number: int) -> None:
        assert kind == "mark"
        self.steps.mark(number)

    async def request(self, kind: str, *fields: Any) -> Any:
        assert kind == "steps"
        method, *arguments = pickle.loads(pickle.dumps(fields))
        self.asked.append(method)
        return pickle.loads(pickle.dumps(await self.steps.answer(method, *arguments)))


async def pieces(ran: Ran) -> AsyncIterator[str]:
    ran.called("stream")
    yield " and"
    yield " words"


def agent_with(ran: Ran) -> Any:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        large = await ctx.step("large", ran.effect, LARGE, key="large")
        once = await ctx.step("once", ran.effect, "once", idempotent=False)
        yield f"{len(large)} {once}"
        async for piece in ctx.stream_step("stream", pieces, ran, key="stream"):
            yield piece

    return agent


async def test_the_next_attempt_in_a_child_gets_what_one_on_the_node_has_recorded() -> None:
    kept, ran = Kept(), Ran()
    async with asyncio.TaskGroup() as tasks:
        on_node = Attempt(kept, tasks, float("inf"))
        first = await Bench().run(agent_with(ran), steps=lambda: on_node)
        node = Node(Attempt(kept, tasks, float("inf")))
        in_child = ChildSteps(node.steps.life_id, tasks, node.request, node.send, lambda: None)
        second = await Bench().run(agent_with(ran), steps=lambda: in_child, attempt=2)
    assert isinstance(first, Completed)
    assert isinstance(second, Completed)
    assert first.text == second.text == f"{len(LARGE)} once and words"
    assert ran.calls == {LARGE: 1, "once": 1, "stream": 1}
    assert node.asked == ["read", "read_chunk", "read_chunk", "read_chunk"]


async def test_a_first_attempt_in_a_child_is_recorded_by_the_node() -> None:
    kept, ran = Kept(), Ran()
    async with asyncio.TaskGroup() as tasks:
        node = Node(Attempt(kept, tasks, float("inf")))
        in_child = ChildSteps(node.steps.life_id, tasks, node.request, node.send, lambda: None)
        done = await Bench().run(agent_with(ran), steps=lambda: in_child)
    assert isinstance(done, Completed)
    assert kept.names() == ["large COMPLETED", "once STARTED", "once COMPLETED", "stream COMPLETED"]
    assert node.asked == [
        "begun",
        "keep_chunk",
        "keep_chunk",
        "keep_chunk",
        "keep",
        "keep",
        "begun",
        "keep",
        "begun",
        "keep",
    ]


async def test_steps_in_a_child_are_shown_to_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_events, "SHOWN_AFTER_S", 0.0)
    bench, appended = Bench(), asyncio.Event()
    bench.log.subscribe(appended)

    async def slow() -> str:
        await appended.wait()
        return "slow"

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield str(await ctx.step("slow", slow))

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        node = Node(Attempt(Kept(), tasks, float("inf")))
        in_child = ChildSteps(node.steps.life_id, tasks, node.request, node.send, lambda: None)
        await bench.run(agent, steps=lambda: in_child)
    assert bench.kinds == ["step_begun", "step_ended", "text_delta"]


async def test_a_write_that_was_begun_is_carried_out_though_the_child_has_ended() -> None:
    kept = Kept()
    async with asyncio.TaskGroup() as tasks:
        attempt = Attempt(kept, tasks, float("inf"))
        attempt.held = asyncio.Event()
        node = NodeSteps(attempt, at_once)
        writing = asyncio.ensure_future(node.answer("keep_chunk", BlobChunk(b"d", 0, b"data")))
        await attempt.reached.wait()
        writing.cancel()
        await asyncio.wait([writing])
        assert kept.chunks == {}
        attempt.held.set()
    assert kept.chunks == {(b"d", 0): b"data"}


async def test_no_step_begins_in_a_run_that_is_left_to_its_next_owner() -> None:
    step = StoredStep(1, bytes(16), b"", "undo", 1, StepState.STARTED, False)
    async with asyncio.TaskGroup() as tasks:
        attempt = Attempt(Kept(), tasks, float("inf"))
        node = NodeSteps(attempt, at_once)
        await node.answer("begun", step)
        attempt.cut_off = True
        with pytest.raises(NodeDraining):
            await node.answer("begun", step)


async def test_the_child_reaches_nothing_else_of_the_recorder() -> None:
    async with asyncio.TaskGroup() as tasks:
        node = NodeSteps(Attempt(Kept(), tasks, float("inf")), at_once)
        for method in ("close", "tasks", "__class__"):
            with pytest.raises(ValueError, match=method):
                await node.answer(method)


async def test_what_a_run_in_a_child_stores_by_key_its_node_writes_and_reads() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.storage.latest.change({"a": LARGE.encode(), "b": b"\xff", "none": None})
        await ctx.storage.put("c", b"3")
        found = await ctx.storage.latest.get("a")
        yield f"{found == LARGE.encode()} {[each.key for each in await ctx.storage.latest.list()]}"

    kept = Kept()
    async with asyncio.TaskGroup() as tasks:
        node = Node(Attempt(kept, tasks, float("inf")))
        in_child = ChildSteps(node.steps.life_id, tasks, node.request, node.send, lambda: None)
        done = await Bench().run(agent, steps=lambda: in_child)
    assert isinstance(done, Completed)
    assert done.text == "True ['a', 'b', 'c']"
    assert kept.stored() == {"a": LARGE.encode(), "b": b"\xff", "c": b"3"}
    assert node.asked == ["read_keys", "keep", "begun", "keep", "read_value"]
