"""What the current code holds up while it waits: the sessions, tasks and steps whose turn or run it is a part of.

An agent that calls a session or a task through agentring.client, and waits for it, while that one waits for the agent's
own turn, would wait until a deadline. So what a call holds travels along with it (the metadata x-held-keys), with
whatever those hold that wait for its turn, and what the caller itself waits for is written down before the wait begins:
a node refuses at once the call that would close the circle (TASK_CYCLE), and of two that close it at one moment at
least one. Where a caller is of another tenant than what it calls, nothing travels.

Kept by nodes for the code of their agents, read by the client. A client that says so of itself harms nobody else: its
own calls are refused.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias
from urllib.parse import quote, unquote

from agentring.errors import InvalidSessionId, InvalidTaskKey
from agentring.ids import OnceRef, SessionRef, TaskRef, TenantId, parse_once, parse_session, parse_task

Ref: TypeAlias = SessionRef | TaskRef

_MOST_BYTES = 2 << 10
"""Of the header: a longer way than any that is meant."""
_KINDS = {SessionRef: "s", TaskRef: "t", OnceRef: "o"}
_PARSERS: dict[str, Callable[[str, str], Ref]] = {"s": parse_session, "t": parse_task, "o": parse_once}


class Holder:
    """A turn, a run or a step under way."""

    def __init__(self, ref: Ref, callers: Callable[[], Iterable[Ref]] = tuple) -> None:
        """callers: what those hold that wait for it, at the moment."""
        self.ref = ref
        self.is_over = False
        self.waits: Counter[Ref] = Counter()
        """What it waits for, at the moment."""
        self._callers = callers

    def held(self) -> set[Ref]:
        """What it holds up, with whoever waits for it; nothing once it is over."""
        return set() if self.is_over else {self.ref, *self._callers()}


_holders: ContextVar[tuple[Holder, ...]] = ContextVar("agentring_holders", default=())


def hold(holder: Holder) -> None:
    """What is started in this context, from here on, is a part of it."""
    _holders.set((*_holders.get(), holder))


@contextmanager
def holding(holder: Holder) -> Iterator[None]:
    """The body is a part of it."""
    token = _holders.set((*_holders.get(), holder))
    try:
        yield
    finally:
        holder.is_over = True
        _holders.reset(token)


def held() -> set[Ref]:
    """By the current code."""
    return {ref for holder in _holders.get() for ref in holder.held()}


@contextmanager
def waiting(ref: Ref) -> Iterator[None]:
    """In the body the current code waits for it."""
    holders = _holders.get()
    for holder in holders:
        holder.waits[ref] += 1
    try:
        yield
    finally:
        for holder in holders:
            holder.waits[ref] -= 1
            if holder.waits[ref] <= 0:
                del holder.waits[ref]


def to_header(tenant: TenantId) -> str:
    """What the current code holds of a tenant's; empty: nothing."""
    header = ""
    for ref in sorted((ref for ref in held() if ref.tenant == tenant), key=lambda ref: ref.ring_key):
        name = ref.session_id if isinstance(ref, SessionRef) else ref.task_key
        one = f"{_KINDS[type(ref)]}:{quote(name, safe='')}"
        if len(header) + len(one) < _MOST_BYTES:
            header += f",{one}" if header else one
    return header


def from_header(tenant: str, header: str) -> frozenset[Ref]:
    """What a caller holds of its own tenant's. What is none is passed over: it holds nothing up. Raises
    InvalidTenantId."""
    found: set[Ref] = set()
    for one in header.split(",") if header else ():
        kind, _, name = one.partition(":")
        if (parser := _PARSERS.get(kind)) is not None:
            try:
                found.add(parser(tenant, unquote(name)))
            except (InvalidSessionId, InvalidTaskKey):
                continue
    return frozenset(found)
