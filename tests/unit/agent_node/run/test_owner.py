"""What an agent starts and what that raises is its run's: the run fails, and nothing else does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import copy_context
from typing import Any

import pytest
import structlog

from agent_node.events.log import EventLog
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment, TurnLimits
from agent_node.run.outcome import Completed, Failed
from agent_node.run.owner import RunOwner
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agentring.agent import AgentEvent, Context
from agentring.ids import Epoch, Incarnation, NodeId, SessionRef, TaskRef, parse_session, parse_task
from agentring.log import with_subject
from agentring.process.entry import drive
from agentring.process.owned_loop import OwnedLoop
from harness.agents import SECRET
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import lease_on
from harness.sessions import ListedAudit

EPOCH = Epoch(7)
REFS: list[SessionRef | TaskRef] = [parse_session("", "s"), parse_task("", "k")]
KEPT: set["asyncio.Task[None]"] = set()

Way = Callable[[BaseException], Awaitable[None]]


async def _in_a_task(error: BaseException) -> None:
    async def child() -> None:
        raise error

    KEPT.add(asyncio.create_task(child()))


async def _in_a_callback(error: BaseException) -> None:
    def call() -> None:
        raise error

    asyncio.get_running_loop().call_soon(call)


async def _in_a_tool(ctx: Context, way: Way, error: BaseException) -> None:
    async def tool() -> str:
        await way(error)
        return "called"

    await ctx.tool("starting", tool)


def begin(ref: SessionRef | TaskRef) -> tuple[RunEnvironment, TurnInput, EventLog]:
    limits = TurnLimits(PATIENCE_S, 1 << 20, 1 << 16, cancel_grace_s=0.02)
    env = RunEnvironment(NodeId("n1"), lease_on(FakeClock()), ListedAudit(), limits, Incarnation(1))
    turn_id = "t" if isinstance(ref, SessionRef) else ""
    turn = TurnInput(ref, turn_id, 1, "hi", {}, "{}", (), 1, agent="odd")
    return env, turn, EventLog(EPOCH, 1 << 20)


@pytest.mark.parametrize("ref", REFS, ids=["turn", "task"])
@pytest.mark.parametrize("error", [SystemExit(SECRET), KeyboardInterrupt(SECRET)], ids=["SystemExit", "Keyboard"])
@pytest.mark.parametrize("way", [_in_a_task, _in_a_callback])
def test_the_run_fails_and_others_go_on(way: Way, error: BaseException, ref: SessionRef | TaskRef) -> None:
    async def exiting(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        await _in_a_tool(ctx, way, error)
        await asyncio.Event().wait()

    async def waiting(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        await exited.wait()

    exited = asyncio.Event()
    outcomes: list[Completed | Failed] = []

    async def main() -> None:
        async def run_other() -> None:
            env, turn, log = begin(parse_session("", "other"))
            outcomes.append(await run_agent(env, waiting, turn, log, EPOCH))

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(run_other())
            env, turn, log = begin(ref)
            outcomes.append(await run_agent(env, exiting, turn, log, EPOCH))
            exited.set()
        KEPT.clear()

    loop = OwnedLoop()
    with structlog.testing.capture_logs() as logged:
        drive(loop, main())
    loop.close()
    failed, completed = outcomes
    assert isinstance(failed, Failed)
    assert (failed.reason, type(completed)) == ("AGENT_ERROR", Completed)
    name = {"session": "s", "turn": "t"} if isinstance(ref, SessionRef) else {"task": "k"}
    for line in logged:
        assert line.items() >= {"tenant": ref.tenant, "agent": "odd", "attempt": 1, **name}.items()
    assert [line["event"] for line in logged] == ["agent_would_end_its_node", "agent_failed"]


def test_what_a_run_left_behind_ends_nothing_any_more() -> None:
    async def leaving(ctx: Context) -> AsyncIterator[AgentEvent]:
        async def child() -> None:
            await over.wait()
            raise SystemExit(SECRET)

        KEPT.add(asyncio.create_task(child()))
        yield "done"

    over = asyncio.Event()
    outcomes: list[Completed | Failed] = []

    async def main() -> None:
        env, turn, log = begin(REFS[0])
        outcomes.append(await run_agent(env, leaving, turn, log, EPOCH))
        over.set()
        await asyncio.sleep(0.01)
        KEPT.clear()

    loop = OwnedLoop()
    with structlog.testing.capture_logs() as logged:
        drive(loop, main())
    loop.close()
    assert [type(outcome) for outcome in outcomes] == [Completed]
    assert [(line["event"], line["session"]) for line in logged] == [("agent_would_end_its_node", "s")]


async def test_a_runs_log_lines_have_its_names_also_where_others_are_bound() -> None:
    structlog.contextvars.bind_contextvars(session="other", agent="other")
    try:
        _, turn, _ = begin(REFS[0])
        context = copy_context()
        context.run(RunOwner(turn, PausableDeadline(PATIENCE_S)).own)
        expected = {"tenant": turn.ref.tenant, "session": "s", "agent": "odd", "turn": "t", "attempt": 1}
        assert context.run(line_of) == expected
        assert context.run(line_of, agent="its own") == expected | {"agent": "its own"}
        assert line_of() == {"session": "other", "agent": "other"}
    finally:
        structlog.contextvars.clear_contextvars()


def line_of(**fields: str) -> dict[str, Any]:
    """What a line that is logged here has beside its event."""
    line = with_subject(None, "info", dict(fields))
    return dict(structlog.contextvars.merge_contextvars(None, "info", line))
