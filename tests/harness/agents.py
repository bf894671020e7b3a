"""Agents that misbehave on request, or run until they are told otherwise. Given to nodes by `--agent`."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from agentring.agent import AgentEvent, Context, Result
from agentring.client import Outcome, connect
from agentring.client.sync import connect as connect_sync
from agentring.errors import TaskCycle
from harness.hostile import Lazy

SECRET = "the-agents-own-words-0451"
"""Stands in every exception that an agent here raises; nobody but the node's log may ever see it."""

FLAGS = (
    "--agent=asking=harness.questions:asking",
    "--agent=faulty=harness.agents:faulty",
    "--agent=holding=harness.agents:holding",
    "--agent=released=harness.agents:released",
    "--agent=blocking=harness.agents:blocking",
    "--agent=calling=harness.agents:calling",
    "--caller-metadata=x-user",
)
"""What a node is started with to host them."""


async def faulty(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Does wrong what its input names; without an input it counts its completed turns."""
    match ctx.input_text:
        case "raise":
            raise RuntimeError(SECRET)
        case "raise after words":
            ctx.state["turns"] = -1
            yield "some words, "
            raise ValueError(SECRET)
        case "whose":
            yield json.dumps(dict(ctx.caller.metadata))
        case "exit":
            sys.exit(SECRET)
        case "exit in a task":
            exiting = asyncio.create_task(_exiting())
            await asyncio.Event().wait()
            del exiting
        case "interrupt in a callback":
            asyncio.get_running_loop().call_soon(_interrupting)
            await asyncio.Event().wait()
        case "cancelled":
            raise asyncio.CancelledError(SECRET)
        case "cancels itself":
            cancel_itself()
        case "stop iteration":
            next(iter(()))
        case "time out":
            raise TimeoutError(SECRET)
        case "no event":
            yield cast(Any, SECRET.encode())
        case "broken text":
            yield "\ud83d"
            yield "\ude00"
            yield "\ud800"
        case "state":
            ctx.state["cart"] = [1, 2, 3, {"price": {SECRET}}]
        case "lazy state":
            ctx.state["lazy"] = Lazy(RuntimeError(SECRET))
        case "big integer":
            yield Result({"id": 1234567890123456789})
        case "deep state":
            ctx.state["deep"] = nested(100_000)
        case "result":
            yield Result({"broken": {SECRET}})
        case "deep result":
            yield Result(nested(int(ctx.input_data["depth"])))
        case "tool":
            await ctx.tool("breaking", _breaking, depth=1)
        case "tool arguments":
            await ctx.tool("breaking", _breaking, broken=object())
        case "deep tool arguments":
            await ctx.tool("nesting", _nesting, value=nested(int(ctx.input_data["depth"])))
        case "deep tool result":
            await ctx.tool("nesting", _nesting, depth=int(ctx.input_data["depth"]))
        case "words":
            yield "x" * int(ctx.input_data["bytes"])
        case _:
            ctx.state["turns"] = ctx.state.get("turns", 0) + 1
            yield "fine"
            yield Result({"turns": ctx.state["turns"]})


async def calling(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Waits for the first of the sessions and tasks that its input names, and has that wait for the next; says how it
    went."""
    way = list(ctx.input_data.get("way", []))
    if not way:
        yield "the end"
        return
    kind, name = way.pop(0).split(" ")
    target = ctx.input_data["target"]
    data = {"target": target, "way": way}
    async with connect(target) as ring:
        try:
            if kind == "session":
                outcome = await ring.session(name, agent="calling").run(data=data)
            elif kind == "sync":
                outcome = await asyncio.to_thread(_run_in_a_thread, target, name, data)
            else:
                outcome = await ring.run_task(name, agent="calling", data=data)
        except TaskCycle:
            yield f"{kind} {name} waits for me"
        else:
            yield outcome.text


def _run_in_a_thread(target: str, name: str, data: dict[str, Any]) -> Outcome:
    with connect_sync(target) as ring:
        return ring.session(name, agent="calling").run(data=data)


async def holding(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Says one word and then runs until it is cancelled."""
    yield ctx.input_text or "held"
    await asyncio.Event().wait()


async def released(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Runs until the file that its input names is there."""
    yield "runs"
    while not Path(ctx.input_text).exists():  # noqa: ASYNC110, ASYNC240  another process makes it
        await asyncio.sleep(0.01)
    yield Result({"released": True})


def nested(depth: int) -> dict[str, Any]:
    """Objects in objects, so many."""
    innermost: dict[str, Any] = {}
    outermost = innermost
    for _ in range(depth):
        outermost = {"d": outermost}
    return outermost


def cancel_itself() -> None:
    """Asks for the end of the task that calls it."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def _exiting() -> None:
    sys.exit(SECRET)


def _interrupting() -> None:
    raise KeyboardInterrupt(SECRET)


async def _breaking(**_arguments: Any) -> None:
    raise LookupError(SECRET)


async def _nesting(depth: int = 0, **_arguments: Any) -> dict[str, Any]:
    return nested(depth)


async def blocking(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Holds the node's event loop up for so many seconds, then says so."""
    yield "begun"
    await asyncio.sleep(0.1)  # so that "begun" is heard
    time.sleep(ctx.input_data["seconds"])  # noqa: ASYNC251  that is the point
    yield "done"


_TAKEN: list[bytes] = []


async def swelling(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Takes so many MiB of the node's memory, and keeps them."""
    _TAKEN.append(b"x" * (int(ctx.input_data["mib"]) << 20))
    yield "taken"
