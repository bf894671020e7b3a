"""A program that runs agents in child processes, all at the same time, and prints how each run ended, a
JSON line a run. Processes are forked here, not in the process of the tests.

`python -m harness.child_program all`: every run of RUNS; `… held` and `… blocked`: one that goes on until the program
is killed, and one that never lets its event loop turn; the line then says which processes there are; `… late`: one
whose node stands still beyond its lease, and then goes on."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from agent_node.child_process import child
from agent_node.child_process import fork_server as forking
from agent_node.child_process.runs import ChildRuns
from agent_node.events.log import EventLog
from agent_node.once.steps import Once
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment, TurnLimits
from agent_node.run.outcome import Failed
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agent_node.store.once_records import OnceCaller
from agentring import log
from agentring.agent import Agent, AgentEvent, Context, OnceFailed, Result
from agentring.ids import Epoch, Incarnation, NodeId, parse_session, parse_task
from agentring.process.entry import drive
from agentring.process.owned_loop import OwnedLoop
from agentring.v1 import session_pb2
from harness.clock import FakeClock
from harness.ending import ENDS, WAYS, ending
from harness.premises import lease_on
from harness.sessions import ListedAudit, kind_of

BLOCKED_S = 2.0
EPOCH = Epoch(7)
FENCED_AFTER_S = 8.0
"""Of a lease as lease_on makes it."""


async def everything(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Does all that an agent may."""

    async def tool(n: int) -> dict[str, int]:
        return {"n": n + 1}

    async def step(idempotency_key: str, fencing_token: int) -> dict[str, Any]:
        inner = await ctx.once("inner", inner_step)
        return {"key": idempotency_key, "token": fencing_token, "inner": inner}

    async def inner_step(**_: Any) -> str:
        return "inner"

    async def with_arguments(amount: int, lock: Any, **run: Any) -> str:
        return f"{amount} {lock is unpicklable} {run}"

    async def failing(**_: Any) -> None:
        raise LookupError("no such account")

    yield "Grüße "
    told: dict[str, Any] = {"tool": await ctx.tool("adds", tool, n=1), "step": await ctx.once("outer", step)}
    unpicklable = threading.Lock()
    told["args"] = await ctx.once("args", with_arguments, args={"amount": 7, "lock": unpicklable})
    try:
        await ctx.once("failing", failing)
    except Exception as error:
        told["failed"] = [type(error).__name__, str(error)]
    told["answer"] = (await ctx.ask("really?", schema={"type": "object"})).text
    told["given"] = [ctx.input_text, ctx.input_data, ctx.turn_number, ctx.attempt, ctx.idempotency_key]
    told["given"] += [ctx.node_id, ctx.fencing_token, [each.input_text for each in ctx.history]]
    ctx.state["deep"] = {"a": [1, None, True, 1.5, "é"]}
    yield "🎉"
    yield Result(told)


async def raising(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "words"
    raise ValueError("its own")


async def exiting(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "words"
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.Event().wait()


async def waiting(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{os.getpid()} {os.getppid()}"
    await asyncio.Event().wait()


async def blocking(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{os.getpid()} {os.getppid()}"
    await asyncio.sleep(0.1)  # until that was said
    while True:
        time.sleep(60.0)  # noqa: ASYNC251  that is what it is for


async def signalled(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Is told to end, as are those who forked it; what it forks can be told, and does not come back here."""
    for pid in (os.getpid(), os.getppid()):
        os.kill(pid, signal.SIGTERM)
    await asyncio.sleep(0)
    if (coming_back := os.fork()) == 0:
        await asyncio.Event().wait()
    if (told := os.fork()) == 0:
        while True:
            time.sleep(60.0)  # noqa: ASYNC251  in a process of its own
    os.kill(told, signal.SIGTERM)
    ends = [await asyncio.to_thread(os.waitpid, pid, 0) for pid in (coming_back, told)]
    yield " ".join(str(os.waitstatus_to_exitcode(status)) for _, status in ends)


async def changing_its_mind(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Does not wait for what it has asked for; it is answered all the same, or ended."""
    told = []

    async def step(**_: Any) -> None:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            told.append("step cut off")
            raise

    async def quick(**_: Any) -> str:
        return "quick"

    for waiting in (ctx.once("step", step), ctx.ask("never answered"), ctx.ask("answered late")):
        try:
            async with asyncio.timeout(0.2):
                await waiting
        except TimeoutError:
            told.append("let go")
    await asyncio.sleep(0.5)
    told += [await ctx.once("quick", quick), (await ctx.ask("now?")).text]
    yield ", ".join(told)


async def stubborn(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{os.getpid()} {os.getppid()}"
    while True:
        try:
            await asyncio.Event().wait()
        except BaseException:
            ctx.state["swallowed"] = True


AGENTS: Mapping[str, Agent] = {
    each.__name__: cast(Agent, each)
    for each in (blocking, changing_its_mind, ending, everything, raising, exiting, signalled, waiting, stubborn)
}


class Answering:
    """Somebody who answers at once."""

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        tell(f"t.{ordinal}")
        if question.prompt == "answered late":
            await asyncio.wait([asyncio.create_task(asyncio.sleep(0.4))])
        if question.prompt == "never answered":
            await asyncio.Event().wait()
        return session_pb2.Input(text=f"yes to {question.prompt} {dict(question.schema)}")


class Steps:
    """Calls every step, and remembers how it ended."""

    def __init__(self) -> None:
        self.ended: list[list[str]] = []

    async def call(
        self,
        caller: OnceCaller,
        key: str,
        function: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float,
        idempotent: bool,
        publish_unknown: Callable[[], None],
        in_child: bool = False,
    ) -> Any:
        try:
            result = await function(idempotency_key=f"once/{key}", fencing_token=9)
        except BaseException as error:
            self.ended.append([key, type(error).__name__])
            if isinstance(error, asyncio.CancelledError):
                publish_unknown()
                raise
            raise OnceFailed(key, type(error).__name__, str(error)) from error
        self.ended.append([key, "done"])
        return result


class Bench:
    """What a run stands on."""

    def __init__(
        self,
        children: ChildRuns | None,
        agent: str,
        *,
        timeout_s: float = 60.0,
        grace_s: float = 0.2,
        lease_s: float = FENCED_AFTER_S,
    ) -> None:
        """lease_s: how long after the node's last sign of life its lease is over."""
        self.steps = Steps()
        self.clock = FakeClock()
        limits = TurnLimits(timeout_s, 1 << 20, 1 << 16, cancel_grace_s=grace_s)
        self.env = RunEnvironment(
            NodeId("n1"),
            lease_on(self.clock),
            ListedAudit(),
            limits,
            Incarnation(1),
            cast(Once, self.steps),
            children,
        )
        self.clock.advance(FENCED_AFTER_S - lease_s)
        self.agent = agent
        self.log = EventLog(EPOCH, 1 << 20)

    async def run(self, *, as_task: bool = False, **data: Any) -> dict[str, Any]:
        given = TurnInput(
            ref=parse_task("", "k") if as_task else parse_session("", "s"),
            turn_id="" if as_task else "t",
            attempt=2,
            text="hi",
            data=data,
            state_json='{"was": 1}',
            history=(),
            turn_number=1,
            questions=None if as_task else Answering(),
            agent=self.agent,
            deaths=1,
        )
        outcome = await run_agent(self.env, AGENTS[self.agent], given, self.log, EPOCH)
        told: dict[str, Any] = {
            "events": [kind_of(event) for event in self.log.all_events()],
            "text": self.log.text(),
            "steps": self.steps.ended,
        }
        if isinstance(outcome, Failed):
            return told | {"reason": outcome.reason}
        return told | {
            "state": outcome.state_json,
            "said": outcome.text,
            "result": json.dumps(dict(outcome.result or {}), default=str, sort_keys=True),
        }


def runs(children: ChildRuns) -> dict[str, Awaitable[Any]]:
    """All of them, by name."""

    def ends(as_task: bool, end: str, way: str, **data: Any) -> Awaitable[Any]:
        return Bench(children, "ending").run(as_task=as_task, end=end, way=way, **data)

    found: dict[str, Awaitable[Any]] = {}
    for way in WAYS:
        for end in ends_by(way):
            found[f"{end} {way}"] = ends(as_task=False, end=end, way=way)
    found |= {f"{end} as a task": ends(True, end, "") for end in ("exits", "blocks")}
    found |= {f"{end} in a step": ends(False, end, "", step="k") for end in ("exits", "blocks")}
    found["exits in a step that must not run twice"] = ends(False, "exits", "", step="k", idempotent=False)
    found |= {agent: Bench(children, agent).run() for agent in ("raising", "exiting", "signalled")}
    for agent in ("everything", "changing_its_mind"):
        found[agent] = Bench(children, agent).run()
        found[f"{agent} as on the node"] = Bench(None, agent).run()
    found["late"] = Bench(children, "waiting", timeout_s=0.2).run()
    found["late and stubborn"] = Bench(children, "stubborn", timeout_s=0.2).run()
    found |= {f"cancelled {agent}": cancelled(children, agent) for agent in ("waiting", "stubborn")}
    return found


def ends_by(way: str) -> list[str]:
    """A thread that blocks blocks nobody."""
    return [end for end in ENDS if (end, way) != ("blocks", "in a thread")]


async def cancelled(children: ChildRuns, agent: str) -> dict[str, Any]:
    bench = Bench(children, agent)
    running = asyncio.create_task(bench.run())
    pid, _ = await said(bench)
    running.cancel()
    await asyncio.wait([running])
    while is_there(pid):  # noqa: ASYNC110  else the test's time is over
        await asyncio.sleep(0.01)
    return {"cancelled": running.cancelled()}


async def said(bench: Bench) -> list[int]:
    """The processes that the agent says."""
    while not bench.log.text():  # noqa: ASYNC110  it is said once
        await asyncio.sleep(0.01)
    return [int(pid) for pid in bench.log.text().split()]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def main(children: ChildRuns, mode: str) -> None:
    if mode != "all":
        bench = Bench(children, "blocking" if mode == "blocked" else "waiting", lease_s=2.0)
        running = asyncio.create_task(bench.run())
        print(json.dumps(await said(bench)), flush=True)
        if mode == "late":
            time.sleep(4.0)  # noqa: ASYNC251  that is what it is for
            bench.clock.advance(4.0)
        await asyncio.wait([running])
        print(json.dumps(type(running.exception()).__name__), flush=True)
        return

    async def one(name: str, run: Awaitable[Any]) -> None:
        print(json.dumps([name, await run]), flush=True)

    async with asyncio.TaskGroup() as group:
        for name, run in runs(children).items():
            group.create_task(one(name, run))


if __name__ == "__main__":
    forker = forking.start(lambda: lambda way: child.serve(way, AGENTS, "info"))
    assert forker is not None
    log.configure("info")
    with asyncio.Runner(loop_factory=OwnedLoop) as runner:
        blocked_s = BLOCKED_S if sys.argv[1] == "all" else 600.0
        drive(runner.get_loop(), main(ChildRuns(forker, blocked_s), sys.argv[1]))
