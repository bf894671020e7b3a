"""Work that the Python client hands in and asks for later, through a real router."""

import pytest

from agentring.client import Disposition, OnBusy, TaskState, TurnAccepted, TurnCompleted, TurnState, connect, sync
from agentring.errors import TaskInputMismatch, TurnIdReused, TurnInProgress
from harness.cluster import Cluster


async def test_a_turn_is_submitted_and_polled_later(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        session = ring.session(name, agent="echo")
        words = {"tokens": 3, "rate": 1000}
        submitted = await session.submit(data=words, turn_id="report")
        assert submitted.turn_id == "report"
        assert submitted.state in (TurnState.ACCEPTED, TurnState.RUNNING, TurnState.COMPLETED)
        assert submitted.accepted_seq == 1
        outcome = await submitted.outcome()
        assert outcome.text == "token0 token1 token2 "
        assert await submitted.poll() is submitted.state is TurnState.COMPLETED
        events = [event async for event in submitted.follow()]
        assert isinstance(events[0], TurnAccepted)
        assert isinstance(events[-1], TurnCompleted)
    async with connect(cluster.router) as later:  # another program, which knows no more than the turn's id
        again = await later.session(name).submit(data=words, turn_id="report")
        assert (again.state, again.accepted_seq) == (TurnState.COMPLETED, submitted.accepted_seq)
        with pytest.raises(TurnIdReused):
            await later.session(name).submit("something else", turn_id="report")
        assert await again.cancel() is TurnState.COMPLETED
        assert (await later.session(name).get()).turns_completed == 1


async def test_a_submitted_turn_goes_on_when_its_program_leaves(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        await ring.session(name, agent="echo").submit(data={"tokens": 1000, "rate": 10}, turn_id="long")
    async with connect(cluster.router) as ring:
        session = ring.session(name)
        await session.submit("waits behind it", turn_id="next")
        found = await session.get()
        assert (found.running_turn_id, found.waiting_turns) == ("long", 1)
        with pytest.raises(TurnInProgress):
            await session.submit("now or never", on_busy=OnBusy.REJECT)
        assert await session.cancel("long") is TurnState.CANCELLED
        assert (await (await session.submit("waits behind it", turn_id="next")).outcome()).text == "waits behind it"


def test_work_is_submitted_without_an_event_loop(cluster: Cluster, name: str) -> None:
    with sync.connect(cluster.router) as ring:
        submitted = ring.session(name, agent="echo").submit("one two", turn_id="t")
        assert (submitted.turn_id, submitted.accepted_seq) == ("t", 1)
        assert submitted.outcome().text == "one two"
        assert submitted.poll() is submitted.state is TurnState.COMPLETED
        assert len(list(submitted.follow())) >= 3
        assert submitted.cancel() is TurnState.COMPLETED
        assert ring.submit_task(name, agent="echo", text="three") is Disposition.STARTED
        assert ring.watch_task(name).outcome().text == "three"


async def test_a_task_is_submitted_and_asked_for_later(cluster: Cluster, name: str) -> None:
    async with connect(cluster.router) as ring:
        assert await ring.submit_task(name, agent="echo", data={"tokens": 20, "rate": 100}) is Disposition.STARTED
        assert await ring.submit_task(name, agent="echo", data={"tokens": 20, "rate": 100}) is Disposition.JOINED
        with pytest.raises(TaskInputMismatch):
            await ring.submit_task(name, agent="echo", text="something else")
        assert (await ring.watch_task(name).outcome()).text.startswith("token0 ")
        found = await ring.get_task(name)
        assert (found.state, found.attempt) == (TaskState.COMPLETED, 1)
        assert await ring.submit_task(name, agent="echo", data={"tokens": 20, "rate": 100}) is Disposition.REPLAYED
