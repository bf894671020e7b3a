"""What both clients in Python share: the service's names, what they send, and how they are led.

A client is started with `--target host:port --session id`, reads the names of cases from its standard input, one a
line, and answers each with a line of JSON: `{"case": …, "ok": …, "detail": …}`. The line `?` is answered with the
names of its cases. Every case has a connection of its own.
"""

import argparse
import json
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable
from typing import Any

SERVICE = "/interop.v1.EchoService/"
TIMEOUT_S = 20.0
LONG_TIMEOUT_S = 40.0
"""Of the cases with much to do."""

LIMIT = 4 << 20
CHUNK_BYTES = 64 << 10
MESSAGES = 10_000
STREAMS = 200
NEIGHBOURS, ROUND_TRIPS = 20, 100
SLOW_CHUNKS = 128
"""8 MiB in all: more than every window and buffer on the way."""

DEADLINE_S = 3.0
DEADLINE_LATEST_S = 15.0

ECHOED = (
    ("echo-text", "a value, with ~ all! sorts"),
    ("echo-twice", "first"),
    ("echo-twice", "second"),
    ("echo-bytes-bin", bytes(range(256))),
)
STATUS_MESSAGE = "größer: 100% of 世界, %41%zz 😀"
STATUS_DETAILS = "grpc-status-details-bin"

CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))

Pairs = tuple[tuple[str, str | bytes], ...]


class Call:
    """The metadata of one call, and the id under which the backend knows it."""

    def __init__(self, session: str, *more: tuple[str, str | bytes]) -> None:
        self.id = uuid.uuid4().hex
        self.metadata: Pairs = (("x-session-id", session), ("call-id", self.id), *more)


def payload(size: int) -> bytes:
    """So many bytes, no two neighbours the same."""
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def failing(code: int) -> Pairs:
    """Metadata that ask for a status."""
    return (("fail-code", str(code)), ("fail-message-bin", STATUS_MESSAGE.encode()), *ECHOED)


def check(holds: bool, *found: object) -> None:
    """Fails the case, saying why."""
    if not holds:
        raise AssertionError(" ".join(repr(each)[:300] for each in found))


def check_echoed(metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
    """All that was sent came back, in order."""
    pairs = tuple((name, value) for name, value in metadata or ())
    echoed = tuple(pair for pair in pairs if pair[0].startswith("echo-"))
    check(sorted(echoed) == sorted(ECHOED), pairs)
    check([value for name, value in echoed if name == "echo-twice"] == ["first", "second"], pairs)


def lead(cases: dict[str, Callable[[str, str], None]]) -> None:
    """Runs the cases that standard input names; a case is given the target and the session."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--session", required=True)
    arguments = parser.parse_args()
    for line in sys.stdin:
        name = line.strip()
        found: dict[str, Any] = (
            {"cases": list(cases)} if name == "?" else _run(cases[name], arguments.target, arguments.session)
        )
        print(json.dumps({"case": name, **found}), flush=True)


def _run(case: Callable[[str, str], None], target: str, session: str) -> dict[str, Any]:
    try:
        case(target, session)
    except Exception:
        return {"ok": False, "detail": traceback.format_exc()}
    return {"ok": True, "detail": ""}
