"""The saver against the package's own tests of savers, and operation by operation against its saver for SQLite."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import aiosqlite
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agentring.adapters import within
from agentring.adapters.langgraph import AgentringSaver
from agentring.agent import AgentEvent, Context
from agentring.testing import AgentTest

Saver = BaseCheckpointSaver[Any]
Check = Callable[[AgentringSaver], Awaitable[None]]

THREADS, SPACES = st.sampled_from(["one", "two"]), st.sampled_from(["", "sub:1", "sub:1|deep:2"])
CHANNELS = st.sampled_from(["messages", "state", "__interrupt__", "__error__", "__resume__", "__scheduled__"])
METADATA = st.fixed_dictionaries({"source": st.sampled_from(["input", "loop"]), "step": st.integers(-1, 2)})
PUT = st.tuples(st.just("put"), THREADS, SPACES, st.integers(0, 4), METADATA)
WRITES = st.tuples(
    st.just("writes"),
    THREADS,
    SPACES,
    st.lists(st.tuples(CHANNELS, st.integers(-9, 9)), min_size=1, max_size=3),
    st.sampled_from(["task a", "task b"]),
    st.sampled_from(["", "~path, 1", "~path, 0"]),
)
DELETE = st.tuples(st.just("delete"), THREADS)
PROGRAMS = st.lists(st.one_of(PUT, PUT, WRITES, WRITES, DELETE), min_size=1, max_size=12)


async def in_agent(check: Check) -> None:
    """Runs a check of a saver in a turn, and again in the session's next one."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with within(ctx):
            await check(AgentringSaver())
        yield "checked"

    async with AgentTest(agent) as test:
        assert (await test.turn("go")).text == "checked"


async def test_the_package_s_own_tests_of_savers_pass() -> None:
    async def check(saver: AgentringSaver) -> None:
        @checkpointer_test(name="AgentringSaver")
        async def fresh() -> AsyncGenerator[Saver, None]:
            async for found in saver.alist(None):
                await saver.adelete_thread(found.config["configurable"]["thread_id"])
            yield saver

        report = await validate(fresh)
        failed = {name: result for name, result in report.results.items() if not result.passed}
        assert failed == {}
        assert len(report.results) == 8
        assert report.passed_all()

    await in_agent(check)


def plain(found: CheckpointTuple | None) -> Any:
    return (
        None
        if found is None
        else (found.config, found.checkpoint, found.metadata, found.parent_config, found.pending_writes)
    )


class Program:
    """Carries out the same operations on two savers."""

    def __init__(self, savers: tuple[Saver, Saver]) -> None:
        self.savers = savers
        self.ids: dict[tuple[str, str], list[str]] = {}
        self.made = [{**empty_checkpoint(), "channel_values": {"n": n}} for n in range(5)]

    async def run(self, program: list[Any]) -> None:
        for kind, thread_id, *rest in program:
            await getattr(self, f"_{kind}")(thread_id, *rest)
        for thread_id in ("one", "two", "none"):
            for space in ("", "sub:1", "sub:1|deep:2", None):
                await self._compare(thread_id, space)
        for saver_filter in ({"source": "loop"}, {"step": 1, "source": "input"}, {"none": 1}):
            await self._same_list(None, filter=saver_filter)

    async def _put(self, thread_id: str, space: str, number: int, metadata: Any) -> None:
        ids = self.ids.setdefault((thread_id, space), [])
        checkpoint: Any = {**self.made[number]}
        configurable = {"thread_id": thread_id, "checkpoint_ns": space}
        if ids:
            configurable["checkpoint_id"] = ids[-1]
        config: Any = {"configurable": configurable, "metadata": {"run_id": f"run {number}", "odd": [1]}}
        ours, theirs = [await saver.aput(config, checkpoint, metadata, {}) for saver in self.savers]
        assert ours == theirs
        ids.append(checkpoint["id"])

    async def _writes(self, thread_id: str, space: str, writes: Any, task_id: str, path: str) -> None:
        if ids := self.ids.get((thread_id, space)):
            config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": space, "checkpoint_id": ids[-1]}}
            for saver in self.savers:
                await saver.aput_writes(config, writes, task_id, path)

    async def _delete(self, thread_id: str) -> None:
        for saver in self.savers:
            await saver.adelete_thread(thread_id)
        self.ids = {place: ids for place, ids in self.ids.items() if place[0] != thread_id}

    async def _compare(self, thread_id: str, space: str | None) -> None:
        configurable: dict[str, Any] = {"thread_id": thread_id}
        if space is not None:
            configurable["checkpoint_ns"] = space
        config: Any = {"configurable": configurable}
        ids = self.ids.get((thread_id, space or ""), [])
        for checkpoint_id in (None, *ids):
            exact: Any = {
                "configurable": {**configurable, **({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}
            }
            ours, theirs = [plain(await saver.aget_tuple(exact)) for saver in self.savers]
            assert ours == theirs
            await self._same_list(exact)
        await self._same_list(config, limit=2)
        if ids:
            await self._same_list(config, before={"configurable": {"checkpoint_id": ids[-1]}})

    async def _same_list(self, config: Any, **options: Any) -> None:
        ours, theirs = [[plain(each) async for each in saver.alist(config, **options)] for saver in self.savers]
        # Where two have one id, which the other namespaces of a thread may have, SQLite's order is any.
        key = lambda found: (found[1]["id"], str(found[0]))  # noqa: E731
        if "limit" in options:
            assert [found[1]["id"] for found in ours] == [found[1]["id"] for found in theirs]
        else:
            assert sorted(ours, key=key) == sorted(theirs, key=key)
        assert [found[1]["id"] for found in ours] == sorted((found[1]["id"] for found in ours), reverse=True)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS)
def test_it_returns_what_the_package_s_saver_for_sqlite_returns(program: list[Any]) -> None:
    async def check(saver: AgentringSaver) -> None:
        async with aiosqlite.connect(":memory:") as connection:
            theirs = AsyncSqliteSaver(connection)
            await theirs.setup()
            await Program((saver, theirs)).run(program)

    asyncio.run(in_agent(check))


async def test_pruning_keeps_what_delta_channels_are_made_of() -> None:
    async def check(saver: AgentringSaver) -> None:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        ids = []
        for step, values in enumerate([{"old": 1}, {"delta": "snapshot"}, {}, {}]):
            checkpoint: Any = {**empty_checkpoint(), "channel_values": values}
            metadata: Any = {"step": step, "counters_since_delta_snapshot": {"delta": [1, 1]} if step > 1 else {}}
            config = await saver.aput(config, checkpoint, metadata, {})
            await saver.aput_writes(config, [("delta", step)], f"task {step}")
            ids.append(checkpoint["id"])
        await saver.aprune(["t"])
        left = [found.checkpoint["id"] async for found in saver.alist({"configurable": {"thread_id": "t"}})]
        assert left == ids[:0:-1]
        history = await saver.aget_delta_channel_history(config=config, channels=["delta"])
        assert history["delta"]["seed"] == "snapshot"
        assert [value for *_, value in history["delta"]["writes"]] == [1, 2]
        with pytest.raises(ValueError, match="keep_latest"):
            await saver.aprune(["t"], strategy="some")

    await in_agent(check)


async def test_methods_that_do_not_await_are_for_other_threads() -> None:
    async def check(saver: AgentringSaver) -> None:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

        def in_thread() -> list[Any]:
            saved = saver.put(config, empty_checkpoint(), {"step": 1}, {})
            saver.put_writes(saved, [("channel", 1)], "task")
            saver.copy_thread("t", "copy")
            saver.prune(["copy"])
            found = [saver.get_tuple(config), *saver.list({"configurable": {"thread_id": "copy"}})]
            saver.delete_thread("t")
            saver.delete_for_runs(["none"])
            return [*found, saver.get_tuple(config)]

        first, copied, none = await asyncio.to_thread(in_thread)
        assert first.pending_writes == copied.pending_writes == [("task", "channel", 1)]
        assert copied.config["configurable"]["thread_id"] == "copy"
        assert none is None
        with pytest.raises(RuntimeError, match="await the async method"):
            saver.get_tuple(config)

    await in_agent(check)


async def test_outside_of_an_agent_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="no agent of agentring runs here"):
        await AgentringSaver().aget_tuple({"configurable": {"thread_id": "t"}})
