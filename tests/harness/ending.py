"""An agent that ends, or blocks, the process that it runs in, in every way that a test names. Given to nodes by
`--agent`."""

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from agentring.agent import AgentEvent, Context, Result

FLAG = "--agent=ending=harness.ending:ending"
"""What a node is started with to host it."""


def _overflow() -> None:
    """C code that calls itself for ever, through Python's."""

    def call() -> None:
        again()

    again = ctypes.CFUNCTYPE(None)(call)
    sys.setrecursionlimit(1 << 30)
    again()


def _close_everything() -> None:
    os.closerange(3, 4096)
    time.sleep(60)  # whatever is left of the process does nothing for anybody


ENDS: dict[str, Callable[[], object]] = {
    "exits": lambda: os._exit(3),
    "aborts": os.abort,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "reads nowhere": lambda: ctypes.string_at(0),
    "blocks": lambda: time.sleep(60),
    "overflows": _overflow,
    "closes everything": _close_everything,
}

_kept: set[Any] = set()


async def _by_itself(end: Callable[[], object]) -> None:
    end()


async def _in_a_callback(end: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_soon(end)


async def _in_a_task(end: Callable[[], object]) -> None:
    _kept.add(asyncio.create_task(_by_itself(end)))


async def _in_a_thread(end: Callable[[], object]) -> None:
    thread = threading.Thread(target=end, daemon=True)
    _kept.add(thread)
    thread.start()


WAYS: dict[str, Callable[[Callable[[], object]], Coroutine[Any, Any, None]]] = {
    "": _by_itself,
    "in a callback": _in_a_callback,
    "in a task": _in_a_task,
    "in a thread": _in_a_thread,
}


async def ending(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Data `end` and `way` name how it ends its process; `step` is a key of ctx.once, `tool` a tool, in which it does;
    `log` is a file that each run adds a line to; `only` says in how many of them it does. Otherwise: says who it is."""
    data = ctx.input_data
    runs = _count(Path(str(data["log"])), ctx) if "log" in data else 1
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield "begun "
    await asyncio.sleep(0.05)  # so that it is heard
    if "end" in data and runs <= int(data.get("only", 1000)):
        way, end = WAYS[str(data.get("way", ""))], ENDS[str(data["end"])]

        async def step(**_: Any) -> str:
            await way(end)
            await asyncio.sleep(60)
            return "never"

        if "tool" in data:
            await ctx.tool(str(data["tool"]), step)
        elif "step" in data:
            await ctx.once(str(data["step"]), step, idempotent=bool(data.get("idempotent", True)))
        else:
            await step()
    yield "done"
    yield Result({"pid": os.getpid(), "attempt": ctx.attempt, "turns": ctx.state["turns"]})


def _count(log: Path, ctx: Context) -> int:
    with log.open("a") as file:
        file.write(f"{ctx.node_id} {os.getpid()} {ctx.attempt}\n")
    return len(log.read_text().splitlines())
