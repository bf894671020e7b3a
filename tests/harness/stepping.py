"""An agent of steps with an effect outside: each writes a line to a file of the test's before it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agentring.agent import AgentEvent, Context, Result, StepUnknown

FLAGS = ("--agent=stepping=harness.stepping:stepping",)
"""What a node is started with to host it."""


async def stepping(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Runs `steps` steps one after the other, each of which lasts `lasts_s` seconds: every fourth is two side by side,
    every fifth has one inside, every seventh must not run twice, every ninth has a large result."""
    data = ctx.input_data
    file = Path(data["directory"]) / "steps"

    async def effect(name: str, size: int, idempotency_key: str, fencing_token: int) -> Any:
        await asyncio.sleep(data["lasts_s"])
        line = {"name": name, "key": idempotency_key, "token": fencing_token, "attempt": ctx.attempt}
        with file.open("a") as steps:
            steps.write(json.dumps(line) + "\n")
        return {"name": name, "padding": "x" * size}

    async def outer(name: str) -> Any:
        inner = await ctx.step("inner", effect, f"{name} inner", 10)
        return {"name": name, "inner": inner["name"]}

    names, unknown = [], 0
    yield f"attempt {ctx.attempt} "
    for number in range(int(data["steps"])):
        name = f"{data['name']}-{number}"
        if number % 4 == 3:
            both = await asyncio.gather(*(ctx.step("effect", effect, f"{name}{half}", 10) for half in "ab"))
            names.append("+".join(each["name"] for each in both))
        elif number % 5 == 4:
            names.append((await ctx.step("outer", outer, name))["inner"])
        elif number % 7 == 6:
            try:
                names.append((await ctx.step("once", effect, name, 10, idempotent=False))["name"])
            except StepUnknown:
                unknown += 1
                names.append("unknown")
        else:
            names.append((await ctx.step("effect", effect, name, 8_000 if number % 9 == 8 else 100))["name"])
        yield f"{number} "
    yield Result({"names": names, "unknown": unknown, "attempt": ctx.attempt})


def expected(name: str, steps: int) -> list[str]:
    """The names of a run in which nothing was cut off."""
    names = []
    for number in range(steps):
        if number % 4 == 3:
            names.append(f"{name}-{number}a+{name}-{number}b")
        elif number % 5 == 4:
            names.append(f"{name}-{number} inner")
        else:
            names.append(f"{name}-{number}")
    return names
