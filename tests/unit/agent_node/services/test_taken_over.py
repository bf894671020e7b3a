"""The other streams that another node served before: RunTurn, WatchSession, RunTask and WatchTask."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.run.slots import RunSlots
from agent_node.run.wait_cycles import WaitCycles
from agent_node.services.session import SessionService
from agent_node.services.task import TaskService
from agent_node.settings import NodeSettings
from agent_node.store import MemoryTaskStore
from agent_node.task.runs import TaskRuns
from agentring import metadata
from agentring.agent import AgentEvent, Context
from agentring.errors import ResumeOffsetExpired
from agentring.ids import Epoch
from agentring.rpc.service import Call
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2 import Event
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import FakeClaims, Stage, environment
from harness.sessions import EPOCH, Actor, acting
from harness.stores import RecordingStore
from harness.streams import first_seq

NEXT = Epoch(EPOCH + 1)
RANGE = 100


class FakeCall:
    """One call: what the router said, and what is sent."""

    def __init__(self, **metadata: str) -> None:
        self.caller = None
        self.metadata = {name.replace("_", "-"): value for name, value in metadata.items()}
        self.headers: dict[str, str] = {}
        self.responses: list[Any] = []
        self.sent = asyncio.Event()

    def named(self, *_: str) -> None:
        """As Call. What is written of it is nothing here."""

    async def accept(self, *pairs: tuple[str, str]) -> None:
        self.headers = dict(pairs)

    async def send_encoded(self, response: bytes) -> None:
        """As Call. The others' fields are some of these."""
        self.responses.append(task_pb2.RunTaskResponse.FromString(response))
        self.sent.set()
        await asyncio.sleep(0)

    @property
    def events(self) -> list[Event]:
        return [event for response in self.responses for event in response.events]

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("body")) for event in self.events]

    @property
    def as_call(self) -> Call:
        return cast(Call, self)


def taken_over(after_seq: int | None, epoch: int = EPOCH, **more: str) -> FakeCall:
    """A call with one message that the router brings here."""
    resumed = {metadata.FRAMES: "1 1", metadata.EPOCH: str(epoch)}
    if after_seq is not None:
        resumed[metadata.AFTER_SEQ] = str(after_seq)
    return FakeCall(**resumed, **more)


def sessions(actor: Actor) -> SessionService:
    async def opened(*_: object) -> object:
        return actor.session

    current = SimpleNamespace(
        host=SimpleNamespace(open=opened, find=opened),
        quota=None,
        wait_cycles=WaitCycles(),
        registration=SimpleNamespace(identity=SimpleNamespace(node_id="n1")),
    )
    incarnations = cast(IncarnationSupervisor, SimpleNamespace(current=current))
    return SessionService(incarnations, NodeSettings.model_validate({"node_id": "n1", "data_dir": Path("unused")}))


def turn_request(turn_id: str = "a", text: str = "abc") -> session_pb2.RunTurnRequest:
    turn = session_pb2.Turn(turn_id=turn_id, input=session_pb2.Input(text=text))
    return session_pb2.RunTurnRequest(session_id="s", agent="agent", turn=turn)


def assert_goes_on(events: list[Event], after_seq: int) -> None:
    """Nothing lacks after a seq, and nothing that was told is told again."""
    covered = [(first_seq(event), event.seq) for event in events if event.seq]
    for (_, before), (first, last) in pairwise([(0, after_seq), *covered]):
        assert first <= before + 1 <= last, covered


async def echoing(ctx: Context) -> AsyncIterator[AgentEvent]:
    for character in ctx.input_text:
        yield character


async def test_a_turns_stream_goes_on_at_every_seq() -> None:
    async with acting(echoing) as actor:
        whole = FakeCall()
        await sessions(actor).RunTurn(turn_request(), whole.as_call)
        for seen_seq in range(1, actor.session.log.head_seq + 1):
            again = taken_over(seen_seq)
            await sessions(actor).RunTurn(turn_request(), again.as_call)
            assert_goes_on(again.events, seen_seq)
            assert again.responses[-1].through_seq == actor.session.log.head_seq
            assert again.responses[-1].acked_frame == 1
        assert actor.store.calls.count("accept_turn") == 1


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("seen_seq", [1, 3])
async def test_a_turns_stream_whose_node_died_after_the_turns_end(seen_seq: int, kept: bool) -> None:
    store = RecordingStore(durable=True, seq_range=RANGE)
    async with acting(echoing, store=store) as before:
        await before.submit("a", "abc")
        await before.until_ended("a")
        (end,) = (event for event in before.events() if event.HasField("turn_completed"))
        if not kept:
            await store.trim_events(before.owner, 1 << 20)
    async with acting(echoing, store=store, epoch=NEXT) as after:
        again = taken_over(seen_seq)
        await sessions(after).RunTurn(turn_request(), again.as_call)
        if kept:
            words = "".join(event.text_delta.text for event in again.events)
            assert words == "abc"[max(0, seen_seq - 2) :]
        else:
            assert again.kinds == ["gap", "turn_completed"]
        assert again.events[-1] == end
        assert_goes_on(again.events, seen_seq)
        assert again.responses[-1].through_seq == end.seq


async def test_a_turns_stream_of_a_lost_volatile_session_runs_no_turn() -> None:
    async with acting(echoing, epoch=NEXT) as actor:
        for text in ("another", "story"):
            await actor.submit(text, text)
            await actor.until_ended(text)
        accepted = actor.store.calls.count("accept_turn")
        with pytest.raises(ResumeOffsetExpired):
            await sessions(actor).RunTurn(turn_request(), taken_over(3).as_call)
        assert actor.store.calls.count("accept_turn") == accepted


async def test_a_watch_that_was_told_nothing_goes_on_where_it_began() -> None:
    async with acting(echoing) as actor:
        await actor.submit("before", "x")
        await actor.until_ended("before")
        request = session_pb2.WatchSessionRequest(session_id="s")
        first = FakeCall()
        watching = asyncio.ensure_future(sessions(actor).WatchSession(request, first.as_call))
        await first.sent.wait()  # alone the acknowledgement
        watching.cancel()
        begins_after = int(first.headers[metadata.BEGINS_AFTER])
        assert begins_after == actor.session.log.head_seq
        await actor.submit("a", "abc")
        await actor.until_ended("a")
        again = taken_over(None)
        again.metadata[metadata.BEGINS_AFTER] = str(begins_after)
        watching = asyncio.ensure_future(sessions(actor).WatchSession(request, again.as_call))
        await again.sent.wait()
        watching.cancel()
        await asyncio.wait([watching])
        assert again.kinds[-1] == "turn_completed"
        assert_goes_on(again.events, begins_after)


class Tasks:
    """Task runs of one node, and their service."""

    def __init__(self, tasks: asyncio.TaskGroup, revision: int) -> None:
        self.stage = Stage()
        claims = FakeClaims()
        claims.revision = revision
        settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": Path("unused")})
        self.clock = FakeClock()
        env = environment(self.clock)
        agents = {"held": self.stage.held}
        self.runs = TaskRuns(
            env, claims.as_claims, MemoryTaskStore(), agents, self.clock, settings, RunSlots(10, 100), tasks
        )
        identity = SimpleNamespace(identity=SimpleNamespace(node_id="n1"), lease=env.lease)
        waits = env.wait_cycles
        current = SimpleNamespace(task_runs=self.runs, registration=identity, wait_cycles=waits, quota=None)
        self.service = TaskService(cast(IncarnationSupervisor, SimpleNamespace(current=current)), settings)

    async def run(self, call: FakeCall, on_duplicate: int = 0) -> None:
        request = task_pb2.RunTaskRequest(
            task_key="k", agent="held", on_duplicate=task_pb2.OnDuplicate.ValueType(on_duplicate)
        )
        await self.service.RunTask(request, call.as_call)

    async def watch(self, call: FakeCall, after_seq: int | None = None) -> None:
        await self.service.WatchTask(task_pb2.WatchTaskRequest(task_key="k", after_seq=after_seq), call.as_call)


@asynccontextmanager
async def task_node(revision: int = EPOCH - 1) -> AsyncIterator[Tasks]:
    """revision: the next claim has the epoch after it."""
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        yield Tasks(tasks, revision)


async def until(call: FakeCall, found: Callable[[], object]) -> None:
    while not found():
        call.sent.clear()
        await call.sent.wait()


@pytest.mark.parametrize("on_duplicate", [task_pb2.ON_DUPLICATE_JOIN, task_pb2.ON_DUPLICATE_REJECT])
async def test_a_tasks_stream_joins_its_own_run(on_duplicate: int) -> None:
    async with task_node() as node:
        first = FakeCall()
        lost = asyncio.ensure_future(node.run(first, on_duplicate))
        await until(first, lambda: "text_delta" in first.kinds)
        lost.cancel()
        seen_seq = first.responses[-1].through_seq
        node.stage.go.set()
        again = taken_over(seen_seq)
        await node.run(again, on_duplicate)
        assert_goes_on(again.events, seen_seq)
        assert again.kinds[-1] == "turn_completed"
        assert [response.disposition for response in again.responses] == [0] * len(again.responses)
        assert node.stage.runs == 1


async def test_the_run_that_follows_a_lost_one_voids_it_for_everybody_who_had_joined() -> None:
    async with task_node(revision=EPOCH) as node:
        node.stage.go.set()
        calls = {seen_seq: taken_over(seen_seq) for seen_seq in (3, 1, 70)}
        for seen_seq, call in calls.items():
            await node.run(call)
            assert_goes_on(call.events, seen_seq)
            assert call.kinds[0] == "attempt_restarted"
            assert {event.attempt for event in call.events} == {2}
            assert call.kinds[-1] == "turn_completed"
        watching = taken_over(2)
        await node.watch(watching, after_seq=2)
        assert watching.kinds[0] == "attempt_restarted"
        fresh = FakeCall()
        await node.run(fresh)
        assert fresh.kinds[-1] == "turn_completed"
        assert node.stage.runs == 1


async def test_a_run_that_somebody_else_began_anew_is_another_story() -> None:
    async with task_node(revision=EPOCH) as node:
        node.stage.go.set()
        await node.run(FakeCall())
        for again in (node.run(taken_over(3)), node.watch(taken_over(3), after_seq=0)):
            with pytest.raises(ResumeOffsetExpired):
                await again
        again_from_the_start = taken_over(None)
        await node.run(again_from_the_start)
        assert again_from_the_start.kinds[-1] == "turn_completed"


async def test_a_watch_of_a_task_says_where_it_begins() -> None:
    async with task_node() as node:
        node.stage.go.set()
        whole = FakeCall()
        await node.run(whole)
        live, resumed = FakeCall(), FakeCall()
        await node.watch(live)
        await node.watch(resumed, after_seq=1)
        head_seq = whole.responses[-1].through_seq
        assert live.headers[metadata.BEGINS_AFTER] == str(head_seq)
        assert resumed.headers[metadata.BEGINS_AFTER] == "1"
        assert metadata.BEGINS_AFTER not in whole.headers
