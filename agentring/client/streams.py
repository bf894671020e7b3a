"""A stream of events that outlives the calls which carry it.

Guarantees that an iteration goes on over lost connections, routers that stop and owners that change, without loss and
without repetition (progress.py), until its end or until retry.py gives up. It has no task of its own: the iterating
task reads the call, so that a slow reader holds the sender back, and leaving the loop, by `break`, an exception or a
cancellation, leaves nothing running; a cancelled `anext` may be called again. Not for two tasks at a time. Extended by
turn_stream.py; made by session.py and tasks.py.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from grpc import aio

from agentring.client.errors import Failure, broken, read_failure
from agentring.client.events import Event
from agentring.client.progress import Progress
from agentring.client.retry import RetryPolicy, RetrySchedule
from agentring.client.routers import Routers
from agentring.errors import ResumeOffsetExpired, RouterStopping
from agentring.v1 import session_pb2

_END_S = 2.0
"""How long a call's status is waited for, after its last event."""

Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Response(Protocol):
    """What all responses that carry events have."""

    through_seq: int

    @property
    def events(self) -> Iterable[session_pb2.Event]:
        """In the order of seq."""


class Call(Protocol):
    """A call that carries a stream."""

    async def read(self) -> Any:
        """The next response, or aio.EOF."""

    def cancel(self) -> bool:
        """Ends it at once."""


Start: TypeAlias = Callable[[aio.Channel, Metadata, int | None], Call]
"""Begins a call on a channel, with metadata; the number: what came up to it is known."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What streams are made with."""

    routers: Routers
    policy: RetryPolicy


class EventStream:
    """Events, by `async for`. `async with` or `aclose` ends it at once; dropping it does so too."""

    _counts_silence = True
    """Whether numbers that were passed without an event are known too: the next call begins after them."""

    def __init__(self, connection: Connection, start: Start, seq: int | None) -> None:
        """start: makes the next call, from what is known already on; it must not hold the stream, which would live on.
        seq: the number after which the events are wanted; None: what the first call says. Nothing is sent before the
        first event is asked for."""
        self._connection = connection
        self._start = start
        self._progress = Progress(seq)
        self._ready: deque[Event] = deque()
        self._call: Call | None = None
        self._channel: aio.Channel | None = None
        self._metadata: Metadata = ()
        """Of the latest call."""
        self._schedule: RetrySchedule | None = None
        self._over = False
        self._was_heard = False
        """Whether any call has said something: where it expires, the place is the stream's own, not its user's."""

    @property
    def seq(self) -> int | None:
        """The number up to which events were read off the wire; None: nothing is known yet."""
        return self._progress.seq

    def __aiter__(self) -> Self:
        """Itself: it can be iterated once."""
        return self

    async def __anext__(self) -> Event:
        """The next event.

        Raises AgentringError, ClientError. Cancellation: no event is lost; the next call goes on.
        """
        while not self._ready:
            if self._over:
                await self._read_end()
                raise StopAsyncIteration
            await self._read_on()
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Leaves the stream. The turn or task goes on."""
        self.leave()

    def leave(self) -> None:
        """As aclose, for who cannot await; in the event loop's thread."""
        self._over = True
        self._ready.clear()
        self._drop()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the stream."""
        await self.aclose()

    def __del__(self) -> None:
        """Who leaves an `async for` early holds it no more; gRPC would read on into memory."""
        if getattr(self, "_call", None) is not None:
            with suppress(RuntimeError):  # the loop is closed, and the call with it
                self._drop()

    def _take(self, event: Event) -> bool:
        """What else an event means to the stream; True: it is the last."""
        return False

    def _respond(self, response: Any) -> None:
        """What else a response says."""

    async def _read_on(self) -> None:
        schedule = self._schedule = self._schedule or RetrySchedule(self._connection.policy)
        if self._call is None:
            self._metadata = await self._connection.routers.metadata()
            self._channel = self._connection.routers.current()
            self._call = self._start(self._channel, self._metadata, self._progress.seq)
        failure = await self._read(self._call, schedule)
        if failure is None or self._channel is None:
            return
        self._drop()
        if not self._passes_over(failure):
            await schedule.wait(await self._connection.routers.after(failure, self._channel, self._metadata))

    async def _read_end(self) -> None:
        """The last event has come: what the call has left is its status. Not to wait for that would cancel the call, so
        that router and node would count one that was abandoned."""
        if self._call is None:
            return
        try:
            async with asyncio.timeout(_END_S):
                while await self._call.read() is not aio.EOF:
                    pass
        except (aio.AioRpcError, TimeoutError):
            pass  # nothing is lost with it
        except asyncio.CancelledError:
            self._connection.routers.check_cancelled()
            raise
        finally:
            self._drop()

    def _passes_over(self, failure: Failure) -> bool:
        """Whether all that is wrong is that what comes next is no longer kept: then a Gap says so."""
        known, error = self._progress.seq, failure.error
        if not (self._was_heard and isinstance(error, ResumeOffsetExpired) and known is not None):
            return False
        if error.oldest_seq <= known + 1:
            return False
        gap = session_pb2.Event(first_seq=known + 1, seq=error.oldest_seq - 1, gap=session_pb2.Gap())
        self._ready.extend(self._progress.take(gap))
        return True

    async def _read(self, call: Call, schedule: RetrySchedule) -> Failure | None:
        try:
            async with asyncio.timeout(schedule.bound(self._connection.policy.silence_s)):
                response = await call.read()
        except aio.AioRpcError as error:
            return read_failure(error)
        except TimeoutError:
            return broken("the stream was silent for too long")
        except asyncio.CancelledError:
            self._drop()  # gRPC has cancelled the call; the next one goes on where it was
            self._connection.routers.check_cancelled()
            raise
        if response is aio.EOF:
            return broken("the stream ended before its last event")
        self._respond(response)
        return self._receive(response, schedule)

    def _receive(self, response: Response, schedule: RetrySchedule) -> Failure | None:
        before = self._progress.seq
        failure = None
        for raw in response.events:
            if raw.HasField("go_away"):
                failure = Failure(RouterStopping(), is_final=False, elsewhere=True)
            elif raw.HasField("heartbeat"):
                schedule.progressed()
            for event in self._progress.take(raw):
                self._ready.append(event)
                self._over = self._take(event) or self._over
        self._was_heard = True
        if self._over:
            return None
        if self._counts_silence:
            self._progress.reach(response.through_seq)
        if self._progress.seq != before:
            schedule.progressed()
        return failure

    def _drop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
