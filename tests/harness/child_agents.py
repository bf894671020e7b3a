"""The agents that child_program.py runs in child processes."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from agentring.agent import Agent, AgentEvent, Context, File, FilePart, JsonPart, Result, TextPart, agent
from harness.ending import ending


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
    seen: dict[str, Any] = {"tool": await ctx.tool("adds", tool, n=1), "step": await ctx.once("outer", step)}
    text, file, value = ctx.input_parts
    assert isinstance(text, TextPart)
    assert isinstance(file, FilePart)
    assert isinstance(value, JsonPart)
    yield File(await file.read() + b"!", file.media_type, "again")
    seen["past"] = [each.text async for each in ctx.messages() if each.role == "user"]
    seen["parts"] = [text.text, value.value]
    unpicklable = threading.Lock()
    seen["args"] = await ctx.once("args", with_arguments, args={"amount": 7, "lock": unpicklable})
    try:
        await ctx.once("failing", failing)
    except Exception as error:
        seen["failed"] = [type(error).__name__, str(error)]
    seen["answer"] = (await ctx.ask("really?", schema={"type": "object"})).text
    seen["turn"] = [ctx.input_text, ctx.input_data, ctx.turn_number, ctx.attempt, ctx.idempotency_key]
    seen["turn"] += [ctx.node_id, ctx.fencing_token, [each.input_text for each in ctx.history]]
    seen["run"] = [ctx.agent, ctx.tenant, ctx.session_id, ctx.task_key, ctx.turn_id, ctx.caller.tenant]
    ctx.emit("progress", {"done": 1})
    ctx.log.info("noted", city="Oslo")
    ctx.state["deep"] = {"a": [1, None, True, 1.5, "é"]}
    yield "🎉"
    yield Result(seen)


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


async def undoing(ctx: Context) -> AsyncIterator[AgentEvent]:
    async def undo() -> str:
        return "undone"

    yield f"{os.getpid()} {os.getppid()}"
    try:
        await asyncio.Event().wait()
    finally:
        await ctx.tool("undo", undo)


async def blocking(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{os.getpid()} {os.getppid()}"
    await asyncio.sleep(0.1)  # until that was said
    while True:
        time.sleep(60.0)  # noqa: ASYNC251  that is what it is for


async def signalled(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Signals itself and the fork server to end; what it forks can be ended so, and does not come back here."""
    for pid in (os.getpid(), os.getppid()):
        os.kill(pid, signal.SIGTERM)
    await asyncio.sleep(0)
    if (coming_back := os.fork()) == 0:
        await asyncio.Event().wait()
    if (signalled_pid := os.fork()) == 0:
        while True:
            time.sleep(60.0)  # noqa: ASYNC251  in a process of its own
    os.kill(signalled_pid, signal.SIGTERM)
    ends = [await asyncio.to_thread(os.waitpid, pid, 0) for pid in (coming_back, signalled_pid)]
    yield " ".join(str(os.waitstatus_to_exitcode(status)) for _, status in ends)


async def changing_its_mind(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Does not wait for what it has asked for; it is answered all the same, or ended."""
    seen = []

    async def step(**_: Any) -> None:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            seen.append("step cut off")
            raise

    async def quick(**_: Any) -> str:
        return "quick"

    for waiting in (ctx.once("step", step), ctx.ask("never answered"), ctx.ask("answered late")):
        try:
            async with asyncio.timeout(0.2):
                await waiting
        except TimeoutError:
            seen.append("timed out")
    await asyncio.sleep(0.5)
    seen += [await ctx.once("quick", quick), (await ctx.ask("now?")).text]
    yield ", ".join(seen)


async def stubborn(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{os.getpid()} {os.getppid()}"
    while True:
        try:
            await asyncio.Event().wait()
        except BaseException:
            ctx.state["swallowed"] = True


@asynccontextmanager
async def pool(settings: str) -> AsyncIterator[dict[str, Any]]:
    """Of the process that opens it; says so where it is closed."""
    found = {"pid": os.getpid(), "settings": settings}
    yield found
    print(f"closed in {os.getpid()}")


@asynccontextmanager
async def broken(_: object) -> AsyncIterator[None]:
    int("no database")
    yield


@agent(lifespan=pool)
async def pooling(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield f"{ctx.resources['pid'] == os.getpid()} {ctx.resources['settings']} {ctx.settings}"


@agent(lifespan=broken)
async def unopened(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "runs"


AGENTS: Mapping[str, Agent] = {
    each.__name__: cast(Agent, each)
    for each in (blocking, changing_its_mind, ending, everything, raising, exiting, signalled, waiting, stubborn)
} | {"pooling": pooling, "undoing": undoing, "unopened": unopened}
