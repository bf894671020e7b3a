"""The Python client, through a real router."""

import asyncio
import threading

import pytest

from agentring.client import (
    AgentringError,
    Disposition,
    OnBusy,
    OnDuplicate,
    RingClosed,
    RunCancelled,
    RunFailed,
    TaskState,
    TextDelta,
    TurnAccepted,
    TurnCompleted,
    TurnStarted,
    TurnState,
    connect,
    sync,
)
from agentring.errors import (
    AgentMismatch,
    AgentNotFound,
    InputNotFound,
    InvalidTimeout,
    SessionClosed,
    SessionNotFound,
    TaskInputMismatch,
    TaskKeyActive,
    TaskNotFound,
    TurnIdReused,
    TurnInProgress,
    TurnNotFound,
)
from harness.cluster import Cluster
from harness.processes import wait_until


async def test_a_turn_is_streamed(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        turn = ring.session(name, agent="echo").send("one two three")
        events = [event async for event in turn]
        kinds = [type(event) for event in events]
        assert kinds[:2] == [TurnAccepted, TurnStarted]
        assert set(kinds[2:-1]) == {TextDelta}
        assert kinds[-1] is TurnCompleted
        assert turn.text == "one two three"
        assert {event.turn_id for event in events} == {turn.turn_id}
        repeated = await ring.session(name).run("one two three", turn_id=turn.turn_id)
        assert (repeated.text, repeated.result, repeated.is_whole) == ("one two three", {"tokens": 3}, True)
        found = await ring.session(name).get()
        assert (found.agent, found.turns_completed, found.closed) == ("echo", 1, False)


async def test_a_session_is_opened_before_its_first_turn(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        attached = await ring.session(name, agent="echo").open()
        assert (attached.session_id, attached.agent) == (name, "echo")
        assert attached.node_id in cluster.nodes
        found = await ring.session(name).get()
        assert (found.node_id, found.epoch, found.turns_completed) == (attached.node_id, attached.epoch, 0)
        with pytest.raises(AgentMismatch):
            await ring.session(name, agent="holding").open()


async def test_a_turn_is_cancelled(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        session = ring.session(name, agent="holding")
        turn = session.send("word")
        async for event in turn:
            if isinstance(event, TextDelta):
                break
        with pytest.raises(TurnInProgress) as refused:
            await session.run("another", on_busy=OnBusy.REJECT)
        assert refused.value.turn_id == turn.turn_id
        assert await turn.cancel() is TurnState.CANCELLED
        with pytest.raises(RunCancelled, match="CLIENT"):
            await turn.outcome()
        assert await session.cancel(turn.turn_id) is TurnState.CANCELLED


async def test_a_watch_sees_all_turns_and_ends_with_the_session(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        session = ring.session(name, agent="echo")
        await session.run("first")
        seen: list[str] = []
        second = asyncio.Event()

        async def watch() -> None:
            async for event in session.watch(0):
                if isinstance(event, TextDelta):
                    seen.append(event.text)
                elif isinstance(event, TurnCompleted) and "second" in seen:
                    second.set()

        watching = asyncio.create_task(watch())
        await session.run("second")
        await asyncio.wait_for(second.wait(), 20)
        await session.close()
        with pytest.raises(SessionClosed):
            await asyncio.wait_for(watching, 20)


async def test_a_run_has_the_deadline_that_its_caller_names(cluster: Cluster, name: str) -> None:
    slow = {"tokens": 1000, "rate": 10}
    async with connect(cluster.router) as ring:
        session = ring.session(name, agent="echo")
        with pytest.raises(RunFailed, match="TURN_DEADLINE"):
            await session.run(data=slow, timeout_s=0.2)
        with pytest.raises(RunFailed, match="TURN_DEADLINE"):
            await ring.run_task(name, agent="echo", data=slow, timeout_s=0.2)
        for timeout_s in (0.0, 100_000.0):
            with pytest.raises(InvalidTimeout):
                await session.run("hi", timeout_s=timeout_s)
        assert (await session.run("still here", timeout_s=60.0)).text == "still here"


async def test_errors_are_told_by_their_reason(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        with pytest.raises(SessionNotFound):
            await ring.session(name).get()
        with pytest.raises(TaskNotFound):
            await ring.get_task(name)
        with pytest.raises(AgentNotFound) as unknown:
            await ring.session(name, agent="nobody").run("hello")
        assert unknown.value.agent == "nobody"
        session = ring.session(name, agent="faulty")
        with pytest.raises(RunFailed, match="AGENT_ERROR") as failed:
            await session.run("raise", turn_id="t1")
        assert failed.value.error_id
        with pytest.raises(TurnIdReused):
            await session.run("other words", turn_id="t1")
        with pytest.raises(TurnNotFound):
            await session.cancel("unheard-of")
        with pytest.raises(AgentMismatch):
            await ring.session(name, agent="echo").run("hello")
        with pytest.raises(InputNotFound):
            await session.reply("nobody-asked", "an answer")


async def test_a_task_is_run_once(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        first = ring.task(name, agent="echo", data={"tokens": 3})
        text = "".join([event.text async for event in first if isinstance(event, TextDelta)])
        assert text == first.text == "token0 token1 token2 "
        assert first.disposition is Disposition.STARTED
        second = await ring.run_task(name, agent="echo", data={"tokens": 3})
        assert (second.text, second.disposition) == (text, Disposition.REPLAYED)
        found = await ring.get_task(name)
        assert (found.state, found.text, found.result) == (TaskState.COMPLETED, text, {"tokens": 3})
        with pytest.raises(TaskInputMismatch):
            await ring.run_task(name, agent="echo", data={"tokens": 4})


async def test_a_task_is_cancelled(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        task = ring.task(name, agent="holding")
        await anext(task)
        with pytest.raises(TaskKeyActive):
            await ring.run_task(name, agent="holding", on_duplicate=OnDuplicate.REJECT)
        assert await ring.cancel_task(name) is TaskState.CANCELLED
        with pytest.raises(RunCancelled):
            await task.outcome()


async def test_a_task_is_watched_by_who_did_not_ask_for_it(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        with pytest.raises(TaskNotFound):
            await ring.watch_task(name).outcome()
        task = ring.task(name, agent="holding")
        await anext(task)
        watch = ring.watch_task(name)
        assert isinstance(await anext(watch), TurnAccepted | TurnStarted)
        await ring.cancel_task(name)
        with pytest.raises(RunCancelled):
            await watch.outcome()
        done = f"{name}-done"
        await ring.run_task(done, agent="echo", data={"tokens": 3})
        assert (await ring.watch_task(done).outcome()).text == "token0 token1 token2 "


def test_a_task_is_watched_without_an_event_loop(cluster: Cluster, name: str) -> None:
    with sync.connect(cluster.router) as ring:
        ring.run_task(name, agent="echo", data={"tokens": 3})
        watch = ring.watch_task(name)
        assert [type(event) for event in watch][-1] is TurnCompleted
        assert watch.text == "token0 token1 token2 "


async def test_tenants_do_not_see_each_other(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router, tenant="acme") as acme, connect(cluster.router) as other:
        await acme.session(name, agent="echo").run("hello")
        with pytest.raises(SessionNotFound):
            await other.session(name).get()


def test_without_an_event_loop(cluster: Cluster, name: str) -> None:
    threads = threading.active_count()
    with sync.connect(cluster.router) as ring:
        session = ring.session(name, agent="echo")
        turn = session.send("one two")
        assert "".join(event.text for event in turn if isinstance(event, TextDelta)) == "one two" == turn.text
        assert session.run("three").text == "three"
        for event in session.watch(0):
            if isinstance(event, TurnCompleted):
                break
        held = ring.task(name, agent="holding")
        next(held)
        assert held.disposition is Disposition.STARTED
        assert ring.cancel_task(name) is TaskState.CANCELLED
        with pytest.raises(RunCancelled):
            held.outcome()
        session.close()
        with pytest.raises(AgentringError):
            session.run("four")
    assert threading.active_count() <= threads


async def test_who_leaves_early_watches_no_more(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        async for _ in ring.task(name, agent="holding"):
            break
        async with asyncio.timeout(20):
            while (await ring.get_task(name)).raw.watchers:  # noqa: ASYNC110  they are in another process
                await asyncio.sleep(0.01)
        await ring.cancel_task(name)


def test_who_leaves_early_watches_no_more_without_an_event_loop_too(cluster: Cluster, name: str) -> None:
    with sync.connect(cluster.router) as ring:
        for _ in ring.task(name, agent="holding"):
            break
        wait_until(lambda: not ring.get_task(name).raw.watchers, "nobody watches")
        ring.cancel_task(name)
    ring.close()
    with pytest.raises(RingClosed):
        ring.get_task(name)


async def test_sessions_and_tasks_are_listed(cluster: Cluster, name: str) -> None:
    names = [f"{name}-{number}" for number in range(5)]
    async with connect(cluster.router) as ring:
        for each in names:
            await ring.session(each, agent="echo").run(data={"tokens": 1})
            await ring.run_task(each, agent="echo", data={"tokens": 1})
        sessions = [found async for found in ring.list_sessions(prefix=name, page_size=2)]
        tasks = [found async for found in ring.list_tasks(prefix=name, state=TaskState.COMPLETED, page_size=2)]
        assert [found async for found in ring.list_tasks(prefix=name, state=TaskState.FAILED)] == []
    assert [(found.session_id, found.turns_completed) for found in sessions] == [(each, 1) for each in names]
    assert [(found.task_key, found.agent) for found in tasks] == [(each, "echo") for each in names]
