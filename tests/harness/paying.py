"""An agent whose turn is one step that runs once, led by the files of a test."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agentring.agent import AgentEvent, Context, OnceFailed, OnceUnknown, Result
from agentring.errors import TaskCycle

FLAGS = ("--agent=paying=harness.paying:paying",)
"""What a node is started with to host it."""


async def paying(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Runs the step `key` of its input, which writes a line to `<directory>/runs`, asks for the step `inside` if there
    is one, and ends once there is a file `<directory>/go-<key>`. Its result is the step's, or the error's name."""
    data = ctx.input_data
    directory = Path(data["directory"])

    async def step(key: str, inside: str, idempotency_key: str, fencing_token: int) -> Any:
        line = {"key": key, "node": ctx.node_id, "idempotency_key": idempotency_key, "token": fencing_token}
        with (directory / "runs").open("a") as runs:
            runs.write(json.dumps(line) + "\n")
        while not (directory / f"go-{key}").exists():  # noqa: ASYNC110  other processes make it
            await asyncio.sleep(0.02)
        if inside:
            return await ctx.once(inside, step, args={"key": inside, "inside": ""}, timeout_s=15)
        if data.get("raises"):
            raise LookupError(data["raises"])
        return {"paid_by": ctx.node_id}

    key = data["key"]
    yield "begun"
    try:
        value = await ctx.once(
            key,
            step,
            args={"key": key, "inside": data.get("inside", "")},
            timeout_s=15,
            idempotent=data.get("idempotent", True),
        )
    except (OnceFailed, OnceUnknown, TaskCycle) as error:
        yield Result({"error": type(error).__name__, "text": str(error)})
    else:
        yield Result({"value": value})
