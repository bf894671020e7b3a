"""The agent of the loop: a model with one tool, whose every call leaves a line in a file before it ends."""

import json
import os
import random
import time
from pathlib import Path

from agentring.agent import tool
from agentring.models import OpenAIModel, chat_agent

INSTRUCTIONS_BYTES = 300_000
RESULT_BYTES = 5_000


@tool
async def work(loop: str, number: int, file: str) -> str:
    """Does a piece of work, and says so in a file."""
    line = {"loop": loop, "number": number, "at_ns": time.monotonic_ns()}
    with open(file, "a") as effects:  # noqa: ASYNC230  one line
        effects.write(json.dumps(line) + "\n")
    return result_of(loop, number)


def result_of(loop: str, number: int) -> str:
    """What the tool returns: as large for each call, and the same for none."""
    drawn = random.Random(f"{loop} {number}")
    return drawn.randbytes(RESULT_BYTES // 2).hex()


def read_effects(file: Path) -> list[dict[str, int | str]]:
    """What the tool has done so far, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


loop = chat_agent(
    OpenAIModel("loop", api_key="none"),
    instructions="x" * INSTRUCTIONS_BYTES,
    tools=[work],
    most_rounds=int(os.environ.get("LOOP_MOST_ROUNDS", "1000")),
)
