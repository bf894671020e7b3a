"""A model that says what the example needs, by what it hears alone: a call that is made again has the same answer."""

import os
import re
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

CALLS = os.environ.get("EXAMPLE_CALLS", "")
"""A file that gets a line for each call; empty: none does."""


async def _says(heard: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
    """Looks into the stock, orders two, and says what came of it."""
    item, results = _said(heard)
    if CALLS:
        with open(CALLS, "a") as calls:  # noqa: ASYNC230  one line
            calls.write(f"model call {len(results) + 1}\n")
    match results:
        case []:
            for word in ("Let ", "me ", "look."):
                yield word
            yield _call("stock", f'{{"item": "{item}"}}', heard)
        case [0]:
            yield f"There is no {item}."
        case [_]:
            yield _call("order", f'{{"item": "{item}", "count": 2}}', heard)
        case _:
            for word in re.findall(r"\S+\s*", f"So: {results[-1]}"):
                yield word


def _said(heard: list[ModelMessage]) -> tuple[str, list[Any]]:
    """The user's last words, and what tools have answered since."""
    item = ""
    results: list[Any] = []
    for message in heard:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, UserPromptPart):
                item, results = str(part.content), []
            elif isinstance(part, ToolReturnPart):
                results.append(part.content)
    return item, results


def _call(tool: str, arguments: str, heard: list[ModelMessage]) -> dict[int, DeltaToolCall]:
    return {1: DeltaToolCall(tool, arguments, tool_call_id=f"{tool}-{len(heard)}")}


FAKE_MODEL = FunctionModel(stream_function=_says, model_name="fake")
