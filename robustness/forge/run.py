"""Tries forged tokens on an auth file, and measures what they cost.

First without a bound on the time, so that each is looked at to the end; then with it, on an event loop, as fast as they
can be handed over: what the loop has left is what a router has left for calls of known callers.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from agentring.auth.authenticator import AuthFile
from agentring.auth.checking_share import BURST_S, SHARE
from agentring.errors import CredentialUnchecked, NotAuthenticated
from harness.issuer import ask, token, write_auth

MOST_S = 0.010
_AROUND = 0.04
"""Of the loop's time: hashing a token and finding that it is new, which comes before its check."""
_TRIES_AT_ONCE = 20


@dataclass
class Checked:
    """What forged tokens came to."""

    count: int = 0
    accepted: list[str] = field(default_factory=list)
    """The tokens themselves; they are the run's own."""
    slowest_s: float = 0.0
    """CPU time of one."""
    crashes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Flooded:
    """What the loop did meanwhile."""

    looked_at: int
    unchecked: int
    longest_s: float
    """CPU time that one was held up by."""
    share: float
    """Of the loop's CPU time, for tokens that were looked at."""
    known_accepted: bool
    """Whoever was known before was known meanwhile."""


def most_share(seconds: float) -> float:
    """Of the loop's time in a flood that is so long: what is checked, what was saved up before, and what is around."""
    return SHARE + BURST_S / seconds + _AROUND


def check_all(directory: Path, forged: Iterable[str]) -> Checked:
    """Each is looked at."""
    auth, found = AuthFile(write_auth(directory), cost_s=lambda: 0.0), Checked()
    ask(auth, token())
    for each in forged:
        found.count += 1
        began_s = time.thread_time()
        try:
            ask(auth, each)
            found.accepted.append(each)
        except NotAuthenticated:
            pass
        except Exception as error:
            found.crashes.append(f"{type(error).__name__} at {each[:80]!r}")
        found.slowest_s = max(found.slowest_s, time.thread_time() - began_s)
    return found


async def flood(directory: Path, forged: list[str], seconds: float) -> Flooded:
    """All of them over and over. The measure is this thread's CPU time, so that a busy machine changes nothing."""
    auth, good = AuthFile(write_auth(directory), cost_s=time.thread_time), token()
    ask(auth, good)
    endless, known = cycle(forged), True
    looked_at, longest_s, checking_s = 0, 0.0, 0.0
    began_s = time.thread_time()
    while time.thread_time() - began_s < seconds:
        for _ in range(_TRIES_AT_ONCE):
            try_s = time.thread_time()
            try:
                ask(auth, next(endless))
                known = False
            except CredentialUnchecked:
                continue
            except NotAuthenticated:
                looked_at += 1
            took_s = time.thread_time() - try_s
            checking_s, longest_s = checking_s + took_s, max(longest_s, took_s)
        known = known and ask(auth, good).tenant == "acme"
        await asyncio.sleep(0)
    share = checking_s / (time.thread_time() - began_s)
    return Flooded(looked_at, auth.unchecked, longest_s, share, known)
