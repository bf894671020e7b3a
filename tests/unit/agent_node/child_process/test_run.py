"""What the node does for a run in a child process that it asks to end: the child is played by the test."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from agent_node.child_process.fork_server import ForkServer
from agent_node.child_process.messages import Channel
from agent_node.child_process.run import ChildRun
from agent_node.run.outcome import Outcome
from agent_node.run.run_input import TurnInput
from agent_node.run.slots import RunSlot, RunSlots
from agentring.errors import StoreUnavailable
from agentring.ids import parse_session
from harness.attempts import Attempt, Kept
from harness.bench import EPOCH, Bench
from harness.stored_steps import row


class Forker:
    """Stands in for the fork server: there is no process."""

    has_ended = False

    def let_run(self, pid: int, for_s: float) -> None: ...

    def kill(self, pid: int) -> None: ...


@dataclass
class Child:
    channel: Channel
    running: "asyncio.Task[Outcome]"
    attempt: Attempt


@asynccontextmanager
async def child(decide_end: Callable[[str], Awaitable[None]] | None = None) -> AsyncIterator[Child]:
    """A run that has begun."""
    ours, theirs = [Channel(*await asyncio.open_unix_connection(sock=each)) for each in socket.socketpair()]
    bench = Bench()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        attempt = Attempt(Kept(), tasks, float("inf"))
        ref = parse_session("", "s")
        turn = TurnInput(ref, "t", 2, "", {}, "{}", (), 1, steps=lambda: attempt, decide_end=decide_end)
        slot = RunSlot(RunSlots(1, 1), ref.tenant)
        run = ChildRun(bench.env, turn, bench.log, EPOCH, ours, slot)
        running = tasks.create_task(_caught(run.carry_out(cast(ForkServer, Forker()), 1, 60.0, {})))
        begin = await theirs.receive()
        assert begin is not None
        assert begin[0] == "begin"
        yield Child(theirs, running, attempt)
    ours.close()
    theirs.close()


async def _caught(code: Awaitable[Any]) -> Any:
    try:
        return await code
    except StoreUnavailable as error:
        return error


async def test_steps_of_the_clean_up_are_recorded() -> None:
    async with child() as run:
        run.running.cancel()
        assert await run.channel.receive() == ("cancel", False)
        run.channel.send("steps", 1, "keep", [row(1)], [])
        assert await run.channel.receive() == ("reply", 1, None, None)
        run.channel.send("cancelled")
        await asyncio.wait([run.running])
    assert run.running.cancelled()
    assert run.attempt.kept.rows == [row(1)]


async def test_a_child_is_told_that_the_run_goes_on_elsewhere() -> None:
    async with child() as run:
        run.attempt.cut_off = True
        run.running.cancel()
        assert await run.channel.receive() == ("cancel", True)
        run.channel.send("cancelled")
        await asyncio.wait([run.running])


async def test_why_the_run_ends_is_stored_for_the_child() -> None:
    decided: list[str] = []

    async def decide_end(reason: str) -> None:
        decided.append(reason)

    async with child(decide_end) as run:
        run.channel.send("decide", 1, "TURN_DEADLINE")
        assert await run.channel.receive() == ("reply", 1, None, None)
        run.running.cancel()
        await run.channel.receive()
        run.channel.send("cancelled")
        await asyncio.wait([run.running])
    assert decided == ["TURN_DEADLINE"]


async def test_where_that_cannot_be_stored_the_run_ends_with_the_store_s_error() -> None:
    async def decide_end(_: str) -> None:
        raise StoreUnavailable

    async with child(decide_end) as run:
        run.channel.send("decide", 1, "TURN_DEADLINE")
        received = [await run.channel.receive() for _ in "ab"]
        run.channel.send("steps", 2, "keep", [row(1)], [])
        run.channel.send("cancelled")
    assert isinstance(run.running.result(), StoreUnavailable)
    assert ("cancel", True) in received
    assert run.attempt.kept.rows == []
