"""The loads: what the client does, and which number of each a proxy is judged by.

An event is one message from a node to a client; a call is one stream from its headers to its trailers.
"""

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """What a load's CPU time is divided by."""

    ROUND_TRIP = "round trip"
    TOKEN = "token"  # noqa: S105 - no secret: a piece of text
    CALL = "call"
    STREAM = "idle stream"


@dataclass(frozen=True, slots=True)
class Load:
    """One load."""

    name: str
    about: str
    unit: Unit
    flags: dict[str, str]
    """The client's, without the dashes."""
    saturates: bool = True
    """As fast as it goes; else at a given rate, which makes its latencies those of a proxy that is not full."""


def _load(name: str, about: str, unit: Unit, *, saturates: bool = True, **flags: str | int) -> Load:
    return Load(name, about, unit, {flag: str(value) for flag, value in flags.items()}, saturates)


_PINGPONG = "100 streams, each with one message under way"
_TOKENS = "100 calls at a time, each answered by 200 events as fast as its windows allow"
_CALLS = "100 calls at a time, each one message there and one back"

IDLE_STREAMS = 5_000

ALL = (
    _load("pingpong-1", f"{_PINGPONG}; 1 connection", Unit.ROUND_TRIP, load="pingpong", streams=100, connections=1),
    _load(
        "pingpong-100", f"{_PINGPONG}; 100 connections", Unit.ROUND_TRIP, load="pingpong", streams=100, connections=100
    ),
    _load("tokens-1", f"{_TOKENS}; 1 connection", Unit.TOKEN, load="tokens", streams=100, connections=1),
    _load("tokens-100", f"{_TOKENS}; 100 connections", Unit.TOKEN, load="tokens", streams=100, connections=100),
    _load("calls-1", f"{_CALLS}; 1 connection", Unit.CALL, load="calls", streams=100, connections=1),
    _load("calls-100", f"{_CALLS}; 100 connections", Unit.CALL, load="calls", streams=100, connections=100),
    _load(
        "paced-tokens",
        "10,000 tokens/s: 100 calls on 4 connections, each 100/s",
        Unit.TOKEN,
        saturates=False,
        load="tokens",
        streams=100,
        connections=4,
        **{"token-rate": 100, "tokens": 1_000_000},
    ),
    _load(
        "low",
        "200 round trips/s on 50 streams of 4 connections",
        Unit.ROUND_TRIP,
        saturates=False,
        load="paced",
        streams=50,
        connections=4,
        rate=200,
    ),
    _load(
        "moderate",
        "2,000 round trips/s on 50 streams of 4 connections",
        Unit.ROUND_TRIP,
        saturates=False,
        load="paced",
        streams=50,
        connections=4,
        rate=2_000,
    ),
    _load(
        "idle",
        f"{IDLE_STREAMS:,} streams on 10 connections that have had one answer each, in a fresh process",
        Unit.STREAM,
        saturates=False,
        load="idle",
        streams=IDLE_STREAMS,
        connections=10,
    ),
)
LOADS = {load.name: load for load in ALL}

LATENCY_LOADS = ("low", "moderate")
"""Whose latency is compared with that of the direct way."""
