"""The model of the loop: an endpoint that asks for the tool again and again, and keeps who has asked what, and when.

Guarantees: what it says follows from the request alone, so that a call which is made again has the same answer.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.fake_endpoint import Exchange
from harness.model_answers import calls, says

_WORDS = 30


@dataclass
class LoopModel:
    """Answers all loops of a run."""

    calls: int
    """Of one loop."""
    effects: Path
    """The file of the tool."""
    drawn: random.Random
    slowest_s: float
    """An answer takes up to that."""
    before_last: Callable[[str], Awaitable[None]]
    """Called with the loop's name before its last answer."""
    asked: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Of each loop: the number of every call, from 1, and when it came, in ns of the monotonic clock."""
    context_bytes: int = 0
    """Of the longest request's messages."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with every call."""

    async def answer(self, exchange: Exchange) -> None:
        """One call."""
        messages = exchange.request["messages"]
        (loop,) = (message["content"] for message in messages if message["role"] == "user")
        number = 1 + sum(message["role"] == "assistant" for message in messages)
        self.asked[loop].append((number, time.monotonic_ns()))
        self.context_bytes = max(self.context_bytes, sum(len(message["content"] or "") for message in messages))
        self.changed.set()
        await asyncio.sleep(self.drawn.random() * self.slowest_s)
        text = text_of(loop, number)
        if number == self.calls:
            await self.before_last(loop)
            await says(text)(exchange)
        else:
            await calls(("work", arguments_of(loop, number, str(self.effects))), text=text)(exchange)


def arguments_of(loop: str, number: int, file: str) -> dict[str, str | int]:
    """What the model calls the tool with."""
    return {"loop": loop, "number": number, "file": file}


def text_of(loop: str, number: int) -> str:
    """What the model says in one call."""
    drawn = random.Random(f"said {loop} {number}")
    return f"[{loop} {number}] " + "".join(f"{drawn.getrandbits(32):x} " for _ in range(_WORDS))
