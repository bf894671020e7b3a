"""The agent `echo`: streams the input's text back, or `tokens` tokens at a `rate`, then its files. For load tests and
first tries.

Guarantees that what it streams without `tokens` is the input byte for byte, that with `tokens` it is exactly so many
pieces, and that at a `rate` the average does not drift however late each single wake-up is. It keeps no state.

Parameters, in the input's data:

    tokens  how many to stream, 0 to 100,000: the text's words over and over, or `token0 token1 ...` without a text
    rate    tokens per second, at least 0.001; absent: as fast as possible

A text that is nothing but `tokens=20 rate=100` (the rate may be left out) says the same where there is no data.
"""

import asyncio
import itertools
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

from agentring.agent import AgentEvent, Context, File, FilePart, JsonObject, Result

MAX_TOKENS = 100_000
MIN_RATE = 0.001
"""Tokens per second. Slower than one in a quarter of an hour is a slip, and no turn would live to see the second."""

BREATH_TOKENS = 64
"""How many tokens may be streamed before the event loop gets a turn: a node whose loop is stuck loses its lease."""

_NAMES = {"tokens", "rate"}
_PIECES = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class EchoParameters:
    """What one turn is to stream."""

    tokens: int | None = None
    """None: as many as the text has words."""
    rate: float | None = None
    """Tokens per second; None: as fast as possible."""


async def echo(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Streams the text back, or `tokens` tokens at `rate`, then the files; the result is `{"tokens": how many}`.

    Raises ValueError for parameters that are unknown, no numbers or out of range.
    """
    parameters, text = read_parameters(ctx.input_data, ctx.input_text)
    pace = Pace(parameters.rate)
    streamed = 0
    for piece in _pieces(text, parameters.tokens):
        await pace.until_due()
        yield piece
        streamed += 1
    for part in ctx.input_parts:
        if isinstance(part, FilePart):
            yield File(await part.read(), part.media_type, part.name)
    yield Result({"tokens": streamed})


def read_parameters(data: JsonObject, text: str) -> tuple[EchoParameters, str]:
    """The parameters, and the text that is left to stream.

    Raises ValueError. Its message never repeats a value: it may end up in the log, where no payload belongs.
    """
    fields = dict(data)
    if not fields and (pairs := _pairs(text)):
        fields, text = _numbers(pairs), ""
    if not fields.keys() <= _NAMES:
        raise ValueError("echo has two parameters, tokens and rate")
    return EchoParameters(tokens=_tokens(fields.get("tokens")), rate=_rate(fields.get("rate"))), text


class Pace:
    """Says when each token is due: the first at once, the n-th (n - 1) / rate seconds later.

    A token is due by the time that the first one set, not by the one before it, so that late wake-ups do not add up.
    A stream that fell behind catches up without waiting.
    """

    def __init__(
        self,
        rate: float | None,
        now: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`now` is the clock that `sleep` waits by, in seconds; None: the running event loop's."""
        self._rate = rate
        self._now = now or asyncio.get_running_loop().time
        self._sleep = sleep
        self._start = self._now()
        self._passed = 0

    async def until_due(self) -> None:
        """Returns when the next token is due."""
        ahead_s = 0.0 if self._rate is None else self._start + self._passed / self._rate - self._now()
        if ahead_s > 0:
            await self._sleep(ahead_s)
        elif self._passed % BREATH_TOKENS == 0:
            await self._sleep(0)
        self._passed += 1


def _pieces(text: str, tokens: int | None) -> Iterator[str]:
    if tokens is None:
        return (match.group() for match in _PIECES.finditer(text))
    words = text.split()
    endless = (f"{word} " for word in itertools.cycle(words)) if words else (f"token{n} " for n in itertools.count())
    return itertools.islice(endless, tokens)


def _pairs(text: str) -> list[tuple[str, str]]:
    """What the text says of the parameters; empty unless it says nothing else, and says how many tokens."""
    pairs = []
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or name not in _NAMES:
            return []
        pairs.append((name, value))
    return pairs if any(name == "tokens" for name, _ in pairs) else []


def _numbers(pairs: list[tuple[str, str]]) -> JsonObject:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("tokens and rate can be given once each")
    try:
        return {name: float(value) for name, value in fields.items()}
    except ValueError:
        raise ValueError("tokens and rate must be numbers, as in tokens=20 rate=100") from None


def _tokens(value: object) -> int | None:
    if value is None:
        return None
    # JSON has one kind of number and protobuf's Struct makes each a double: 20.0 is 20.
    if not _is_number(value) or not 0 <= value <= MAX_TOKENS or value != int(value):
        raise ValueError(f"tokens must be a whole number from 0 to {MAX_TOKENS}")
    return int(value)


def _rate(value: object) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not MIN_RATE <= value < math.inf:
        raise ValueError(f"rate must be a number of tokens per second, at least {MIN_RATE}")
    return float(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    # A bool is an int to Python, but true is no number of tokens.
    return isinstance(value, int | float) and not isinstance(value, bool)
